"""A checkpoint's matrices in the layout that the native linears read: packed in parallel straight from the mapped file, cached.

The packed form of a whole model is one file in the cache folder, named by the digest of the checkpoint, the layout version
and the list of matrices; the next start maps it. It is the same for every instruction set. See csrc/pack.h for the layouts.

    specs = [MatrixSpec("model.layers.0.qkv", ("model.layers.0.self_attn.q_proj", "….k_proj", "….v_proj")),
             MatrixSpec("model.layers.0.gate_up", ("….mlp.gate_proj", "….mlp.up_proj"), gate_up=True), …]
    packed = pack_model(checkpoint, specs, library=cdll, cache_dir=folder)
    packed.weight("model.layers.0.qkv")      # a ctypes Weight: pass it by reference or copy it into a struct of your own
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    Checkpoint = Any


class Weight(ctypes.Structure):
    """One packed matrix; mirrors rx::Weight of csrc/linear.h."""

    _fields_ = (
        ("tiles", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("strip_bytes", ctypes.c_int64),
        ("kind", ctypes.c_int32),
        ("order", ctypes.c_int32),
        ("depth", ctypes.c_int32),
        ("columns", ctypes.c_int32),
        ("packed_columns", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
    )


@dataclass(frozen=True, slots=True)
class MatrixSpec:
    """One matrix of the step and the checkpoint's tensors that it is made of."""

    name: str
    """The caller's name for it."""
    parts: tuple[str, ...]
    """Modules whose rows follow one another, without `.weight`; all of one depth. A part's `.bias` is fused when present."""
    gate_up: bool = False
    """Two parts of equal size, gate and up, interleaved by 16 columns for the gated epilogue."""


class PackedModel:
    """Packed matrices over one mapping. Keep it alive as long as the step uses its weights."""

    def weight(self, name: str) -> Weight:
        """Raises KeyError for a name that was not in the specs."""
        raise NotImplementedError

    @property
    def nbytes(self) -> int:
        raise NotImplementedError

    def close(self) -> None:
        """Unmaps; no Weight may be used afterwards."""


def pack_model(
    checkpoint: Checkpoint,
    specs: Sequence[MatrixSpec],
    *,
    library: ctypes.CDLL,
    cache_dir: Path,
    use_cache: bool = True,
    num_threads: int = 0,
) -> PackedModel:
    """The model's matrices, packed. Maps the cached file when there is one; else packs, and writes the file unless
    `use_cache` is false (then the packed form lives in anonymous memory).

    num_threads: 0 for as many as this process may use. Raises BadCheckpoint for parts of unequal depth, UnsupportedModel
    for a tensor format that the native step does not read.
    """
    raise NotImplementedError
