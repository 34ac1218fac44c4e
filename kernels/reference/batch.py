"""Which cached slots each row of a packed batch may read: built once a step, used by every layer.

B sequences, T packed rows, L slots of a sequence, N own rows of it. Slot i of a sequence holds its position i; where
its drafts branch, the slots of its own rows stand in the order of the rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..paged import Paged

_BLOCK = 512
"""Slots that torch's fused attention takes at once, on the CPU."""
_LENGTHS = (64, 128, 192, 384, _BLOCK)
"""Of the last block. Between 192 and 384 MKL's matrix product sums in another order than over a whole block, so a row's
result would depend on how many slots the sequence has by then; at these lengths it does not (found by trying all)."""


def padded_slots(slots_L: NDArray[np.int32]) -> NDArray[np.int32]:
    """The last slot again, up to the next of the lengths; no row sees it there, positions past its own are hidden.

    A sequence's own slot: another request's values, infinities included, stay out.
    """
    last = (len(slots_L) - 1) % _BLOCK + 1
    return np.pad(slots_L, (0, next(n for n in _LENGTHS if n >= last) - last), mode="edge")


class Extend(NamedTuple):
    """One sequence's rows."""

    first: int
    end: int
    slots_L: Tensor
    """int64, in order of position, as `padded_slots` gives them."""
    tree_NN: Tensor | None = None
    """bool: which own rows each own row sees, in drafts that branch; None: causal."""
    cached_len: int = 0
    """Slots before the own rows'; read where there is a tree."""


class DecodeGroup(NamedTuple):
    """Sequences of one row each, of similar length, padded to the longest."""

    rows_B: Tensor
    """int64: packed rows."""
    slots_BL: Tensor
    """int64; past a sequence's end its last slot again."""
    positions_B: Tensor


def _mask(positions_N: Tensor, num_slots: int, window: int) -> Tensor:
    """[N, L] bool: slot i is visible to a row at position p when p - window < i <= p."""
    slot_positions_L = torch.arange(num_slots, device=positions_N.device)
    visible_NL = slot_positions_L <= positions_N[:, None]
    if window:
        visible_NL &= slot_positions_L > positions_N[:, None] - window
    return visible_NL


@dataclass(slots=True)
class PackedBatch:
    """Rows query_start[b] .. query_start[b + 1] belong to sequence b."""

    sequences: list[Extend]
    positions_T: Tensor
    """int64: a row sees the slots of its sequence at positions up to its own."""
    paged: Paged | None = None
    """The same for kernels that read the page table; `sequences` may then be empty."""
    _groups: list[DecodeGroup] | None = None
    _additive: dict[tuple[int, int, torch.dtype], Tensor | None] = field(default_factory=dict)

    def extends(self) -> list[Extend]:
        """Sequences of more than one row."""
        return [s for s in self.sequences if s.end - s.first > 1]

    def decode_groups(self) -> list[DecodeGroup]:
        """Sequences of one row, grouped so that none is padded to more than about twice its length."""
        if self._groups is None:
            by_size: dict[int, list[Extend]] = {}
            for sequence in self.sequences:
                if sequence.end - sequence.first == 1:
                    by_size.setdefault(max(len(sequence.slots_L), 64).bit_length(), []).append(sequence)
            self._groups = []
            for members in by_size.values():
                rows_B = torch.tensor([s.first for s in members], device=self.positions_T.device)
                steps_L = torch.arange(max(len(s.slots_L) for s in members), device=self.positions_T.device)
                slots_BL = torch.stack([s.slots_L[steps_L.clamp(max=len(s.slots_L) - 1)] for s in members])
                self._groups.append(DecodeGroup(rows_B, slots_BL, self.positions_T[rows_B]))
        return self._groups

    def visible(self, sequence: Extend, window: int) -> Tensor:
        """[rows, L] bool of one sequence."""
        positions_N = self.positions_T[sequence.first : sequence.end]
        visible_NL = _mask(positions_N, len(sequence.slots_L), window)
        if sequence.tree_NN is not None:
            begin, end = sequence.cached_len, sequence.cached_len + len(positions_N)
            visible_NL[:, begin:] = False
            visible_NL[:, begin:end] = sequence.tree_NN
            if window:
                visible_NL[:, begin:end] &= positions_N > positions_N[:, None] - window
        return visible_NL

    def extend_bias(self, sequence: Extend, window: int, dtype: torch.dtype) -> Tensor | None:
        """`visible` as 0 and -inf, [rows, L]; None when everything is visible."""
        key = (sequence.first, window, dtype)
        if key not in self._additive:
            self._additive[key] = _bias(self.visible(sequence, window), dtype)
        return self._additive[key]

    def group_bias(self, index: int, window: int, dtype: torch.dtype) -> Tensor | None:
        """The same of a decode group, [B, L]."""
        key = (-1 - index, window, dtype)
        if key not in self._additive:
            group = self.decode_groups()[index]
            self._additive[key] = _bias(_mask(group.positions_B, group.slots_BL.shape[1], window), dtype)
        return self._additive[key]


def _bias(visible: Tensor, dtype: torch.dtype) -> Tensor | None:
    if bool(visible.all()):
        return None
    return torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill_(~visible, float("-inf"))
