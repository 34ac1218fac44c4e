"""K and V of every cached position: one tensor a layer, indexed by slot. S slots, C = 2K cached heads, D head dim."""

from __future__ import annotations

import torch
from torch import Tensor

from .config import ModelConfig


class KvPool:
    """Slots start as zeros; memory is committed as they are first written."""

    def __init__(self, config: ModelConfig, num_slots: int, dtype: torch.dtype, device: torch.device) -> None:
        heads = 2 * config.num_kv_heads
        shape = (num_slots, heads, config.head_dim)
        self.num_slots = num_slots
        self.layers = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.num_layers)]
        self.scales: list[Tensor | None] = [
            torch.zeros(shape[:2], device=device) if dtype == torch.int8 else None for _ in range(config.num_layers)
        ]
        self.bytes_per_token = kv_bytes_per_token(config, dtype)


def kv_bytes_per_token(config: ModelConfig, dtype: torch.dtype) -> int:
    """Of all layers; int8 adds one float32 scale a head."""
    a_head = config.head_dim * dtype.itemsize + (4 if dtype == torch.int8 else 0)
    return 2 * config.num_kv_heads * a_head * config.num_layers
