"""What a checkpoint offers, whatever its file format: tensors by Hugging Face's Llama names, packed as stored.

Names: model.embed_tokens.weight, model.layers.{i}.input_layernorm.weight, .self_attn.{q,k,v,o}_proj.weight (and .bias),
.self_attn.{q,k}_norm.weight, .post_attention_layernorm.weight, .pre_feedforward_layernorm.weight,
.post_feedforward_layernorm.weight, .mlp.{gate,up,down}_proj.weight, model.norm.weight, lm_head.weight (absent when
tied). Fused projections of a checkpoint (Phi-3's qkv_proj and gate_up_proj) are already split by the reader; rows of q
and k are in Hugging Face's order (GGUF's permutation is undone); norm weights are as the Hugging Face module holds them
(GGUF's Gemma weights have their 1 taken off again, so `norm_offset` applies to both).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..model.config import ModelConfig


@dataclass(frozen=True, slots=True)
class PackedTensor:
    """A tensor as its file stores it. `data` maps the file: read-only, and no copy where the rows are in order."""

    name: str
    format: str
    """F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K … Q6_K, IQ4_NL, IQ4_XS (GGUF's names), or GPTQ4, AWQ4, …"""
    shape: tuple[int, ...]
    """Logical shape, rows first: (out_features, in_features) for a linear."""
    data: NDArray[np.uint8]
    """Row-major bytes: [rows, bytes of a row] for matrices, [bytes] for vectors."""


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

    def close(self) -> None: ...
