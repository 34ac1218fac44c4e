"""What a checkpoint offers, whatever its file format: tensors by Hugging Face's Llama names, packed as stored.

Names: model.embed_tokens.weight, model.layers.{i}.input_layernorm.weight, .self_attn.{q,k,v,o}_proj.weight (and .bias),
.self_attn.{q,k}_norm.weight, .post_attention_layernorm.weight, .pre_feedforward_layernorm.weight,
.post_feedforward_layernorm.weight, .mlp.{gate,up,down}_proj.weight, model.norm.weight, lm_head.weight (absent when
tied). A layer of experts has .mlp.gate.weight (the router), .mlp.experts.{j}.{gate,up,down}_proj.weight and, where one
is shared by all tokens, .mlp.shared_expert.{gate,up,down}_proj.weight and .mlp.shared_expert_gate.weight.

Fused projections of a checkpoint (Phi-3's qkv_proj and gate_up_proj) are already split by the reader; rows of q and k
are in Hugging Face's order (GGUF's permutation is undone); norm weights are as the Hugging Face module holds them
(GGUF's Gemma weights have their 1 taken off again, so `norm_offset` applies to both).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ..model.config import ModelConfig
from .gguf_header import BLOCKS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Eights(NamedTuple):
    """A linear of 8 bits whose inputs are rounded to 8 bits as well (W8A8), as its file stores it."""

    codes_NK: NDArray[np.uint8]
    """Bytes of int8, or of FP8 (E4M3)."""
    is_float: bool
    scales_NG: NDArray[np.float32]
    """Of G equal groups of inputs; finite."""


@dataclass(frozen=True, slots=True)
class PackedTensor:
    """A tensor as its file stores it, or as blocks that hold the same numbers."""

    name: str
    format: str
    """F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K … Q6_K, IQ4_NL, IQ4_XS (GGUF's names); A4, A8 (blocks.py)."""
    shape: tuple[int, ...]
    """Logical shape, rows first: (out_features, in_features) for a linear."""
    source: NDArray[np.uint8] | Callable[[], NDArray[np.uint8]]
    """What `data` gives: a view of the mapped file, or what checks it or makes its bytes."""
    widened: bool = False
    """Whether it is float32 only because its file's format is not computed on."""
    compact: PackedTensor | None = None
    """What a kernel may compute on in the place of widened numbers: exact if it has `inputs_K`, else in bfloat16."""
    inputs_K: NDArray[np.int32] | None = None
    """Which input each column of `data` is, where they are not in order."""
    eights: Callable[[], Eights | None] | None = None
    """For a kernel that multiplies 8 bits by 8 bits; None: the file asks for no such arithmetic."""
    repeated: Callable[[], NDArray[np.uint8]] | None = None
    """Bytes of which `data` is copies, one behind the other, the last one cut; None: it is not known to be."""

    @property
    def data(self) -> NDArray[np.uint8]:
        """Row-major bytes, read-only: [rows, bytes of a row] for matrices, [bytes] for vectors.

        A view of the file where its rows are in order; others are made anew each time. Raises BadCheckpoint for scales
        that are not finite and for parts that do not fit together.
        """
        return self.source() if callable(self.source) else self.source

    @property
    def nbytes(self) -> int:
        """Of `data`, which is not made for it."""
        if not callable(self.source):
            return self.source.nbytes
        if self.format in BLOCKS:
            values, size = BLOCKS[self.format]
            return math.prod(self.shape) // values * size
        from .blocks import BLOCK, block_bytes

        return math.prod(self.shape) // BLOCK * block_bytes(self.format)


class Checkpoint(Protocol):
    """An opened model: facts, tokenizer data and tensors. Opening reads headers only."""

    path: Path
    config: ModelConfig
    digest: str
    """Of the content: names caches of derived data."""

    def names(self) -> list[str]:
        """Canonical names of all tensors."""
        ...

    def formats(self) -> list[str]:
        """How the file stores its tensors, each format once, sorted; reads no tensor."""
        ...

    def packed(self, name: str) -> PackedTensor:
        """Raises KeyError for an unknown name, BadCheckpoint for a tensor that does not lie in its file."""
        ...

    def dense(self, name: str) -> NDArray[np.float32]:
        """The tensor in float32, dequantised exactly."""
        ...

    def forget_pages(self) -> None:
        """Takes what was read of the files out of this process's memory; the system keeps its own copy as it likes."""
        ...

    def close(self) -> None: ...
