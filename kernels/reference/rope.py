"""Plain torch: rotary positions (RoFormer, arXiv 2104.09864). T tokens, H heads, D head dim, R pairs that turn."""

from __future__ import annotations

import torch
from torch import Tensor

from .cache import store_kv


def rotate(x_THD: Tensor, cos_TR: Tensor, sin_TR: Tensor, *, interleaved: bool) -> None:
    """In place, arithmetic in float32 (float64 of float64). Pairs: (0, R), (1, R + 1)…; interleaved: (0, 1), (2, 3)…"""
    num_pairs = cos_TR.shape[-1]
    cos_T1R, sin_T1R = cos_TR.unsqueeze(1), sin_TR.unsqueeze(1)
    if interleaved:
        first, second = x_THD[..., 0 : 2 * num_pairs : 2], x_THD[..., 1 : 2 * num_pairs : 2]
    else:
        first, second = x_THD[..., :num_pairs], x_THD[..., num_pairs : 2 * num_pairs]
    wide = torch.promote_types(x_THD.dtype, torch.float32)
    a, b = first.to(wide), second.to(wide)
    turned = a * cos_T1R - b * sin_T1R
    second.copy_(b * cos_T1R + a * sin_T1R)
    first.copy_(turned)


def rotate_and_store(
    qkv_TCD: Tensor,
    rope_TR: tuple[Tensor, Tensor] | None,
    kv_SCD: Tensor,
    scale_SC: Tensor | None,
    slots_T: Tensor,
    *,
    num_heads: int,
    interleaved: bool,
) -> Tensor:
    """See `kernels.ops.rotate_and_store`."""
    num_turned = num_heads + (qkv_TCD.shape[1] - num_heads) // 2
    if rope_TR is not None:
        rotate(qkv_TCD[:, :num_turned], *rope_TR, interleaved=interleaved)
    store_kv(kv_SCD, scale_SC, qkv_TCD[:, num_heads:], slots_T)
    return qkv_TCD[:, :num_heads]
