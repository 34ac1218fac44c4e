"""Linears of small integers with scales and zeros for groups of their inputs, whatever file format they come from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .blocks import BLOCK, make_blocks

Floats = NDArray[np.float32]


class Integers(NamedTuple):
    """Weight (n, k) is scales[n, g] * (codes[n, k] - zeros[n, g]) with g = group[k]."""

    bits: int
    codes: Callable[[], NDArray[np.uint8]]
    """[N, K], each below 2 ** bits; made only when asked for."""
    zeros: NDArray[np.int32]
    """[N, G]"""
    scales: Floats
    """[N, G]"""
    group: NDArray[Any]
    """[K]"""

    def dense(self) -> Floats:
        """[N, K]"""
        values = self.codes().astype(np.int32) - self.zeros[:, self.group]
        found: Floats = values.astype(np.float32) * self.scales[:, self.group]
        return found

    def by_group(self) -> tuple[Integers, NDArray[np.int32]]:
        """The same with its inputs in the order of their groups, and which input each of them is."""
        inputs_K = np.argsort(self.group, kind="stable").astype(np.int32)
        codes = self.codes
        ordered = self._replace(codes=lambda: codes()[:, inputs_K], group=self.group[inputs_K])
        return ordered, inputs_K

    def form(self) -> str | None:
        """The smallest format of blocks.py that holds these numbers. None where 32 neighbouring inputs do not share a
        scale."""
        if len(self.group) % BLOCK or (self.group.reshape(-1, BLOCK) != self.group[::BLOCK, None]).any():
            return None
        wide = 8 if self.bits == 8 else 4
        symmetric = (self.zeros == 1 << (wide - 1)).all()
        with np.errstate(over="ignore"):
            short = (self.scales.astype(np.float16) == self.scales).all()
        return f"Q{wide}_0" if symmetric and short else f"A{wide}"

    def blocks(self, form: str) -> NDArray[np.uint8]:
        """[N, bytes of a row]"""
        group = self.group[::BLOCK]
        scales = self.scales[:, group]
        offsets = -(scales * self.zeros[:, group]) if form.startswith("A") else None
        return make_blocks(form, np.ascontiguousarray(self.codes()), scales, offsets)
