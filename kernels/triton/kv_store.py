"""Rotary positions and the KV pool's write in one pass. T tokens, H query heads, K kv heads, D head dim, R pairs.

One program takes a tile of a token's heads: it turns q and k (RoFormer, arXiv 2104.09864), leaves q in a tensor of its
own and writes k and v to their slot in the pool's type, int8 with one float32 scale a head of a token.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _round_half_even(x):
    return (x + 12582912.0) - 12582912.0  # 1.5 * 2^23: the sum has no fraction bits left


@triton.jit
def _rotate_and_store(
    qkv_ptr,
    cos_ptr,
    sin_ptr,
    q_ptr,
    kv_ptr,
    scale_ptr,
    slots_ptr,
    qkv_stride,
    rope_stride,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    DIM: tl.constexpr,
    DIM_PAD: tl.constexpr,
    PAIRS: tl.constexpr,
    INTERLEAVED: tl.constexpr,
    ROTATES: tl.constexpr,
    IS_INT8: tl.constexpr,
    TILE: tl.constexpr,
):
    token = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1) * TILE + tl.arange(0, TILE)
    d = tl.arange(0, DIM_PAD)
    here = (head < HEADS + 2 * KV_HEADS)[:, None] & (d < DIM)[None, :]
    at = token * qkv_stride + head[:, None] * DIM
    x = tl.load(qkv_ptr + at + d[None, :], mask=here, other=0.0).to(tl.float32)
    if ROTATES:
        turns = (head < HEADS + KV_HEADS)[:, None] & (d < 2 * PAIRS)[None, :]
        if INTERLEAVED:
            partner = d ^ 1
            pair = d // 2
            is_first = d % 2 == 0
        else:
            partner = tl.where(d < PAIRS, d + PAIRS, d - PAIRS)
            pair = tl.where(d < PAIRS, d, d - PAIRS)
            is_first = d < PAIRS
        y = tl.load(qkv_ptr + at + partner[None, :], mask=turns, other=0.0).to(tl.float32)
        turned = d < 2 * PAIRS
        cos = tl.load(cos_ptr + token * rope_stride + pair, mask=turned, other=1.0)
        sin = tl.load(sin_ptr + token * rope_stride + pair, mask=turned, other=0.0)
        sin = tl.where(is_first, -sin, sin)
        x = tl.where(turns, x * cos[None, :] + y * sin[None, :], x)
    is_query = (head < HEADS)[:, None]
    x = x.to(q_ptr.dtype.element_ty)
    tl.store(q_ptr + token * (HEADS * DIM) + head[:, None] * DIM + d[None, :], x, mask=here & is_query)
    slot = tl.load(slots_ptr + token).to(tl.int64)
    cached = head - HEADS
    kv_at = kv_ptr + (slot * (2 * KV_HEADS) + cached[:, None]) * DIM + d[None, :]
    if IS_INT8:
        x = x.to(tl.float32)
        scale = tl.max(tl.abs(x), 1) / 127.0
        steps = _round_half_even(x / tl.maximum(scale, 1e-30)[:, None])
        tl.store(kv_at, tl.minimum(tl.maximum(steps, -127.0), 127.0).to(tl.int8), mask=here & ~is_query)
        tl.store(
            scale_ptr + slot * (2 * KV_HEADS) + cached, scale, mask=(head >= HEADS) & (head < HEADS + 2 * KV_HEADS)
        )
    else:
        tl.store(kv_at, x.to(kv_ptr.dtype.element_ty), mask=here & ~is_query)


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
    num_tokens, all_heads, dim = qkv_TCD.shape
    kv_heads = (all_heads - num_heads) // 2
    q_THD = torch.empty(num_tokens, num_heads, dim, dtype=qkv_TCD.dtype, device=qkv_TCD.device)
    cos_TR, sin_TR = rope_TR if rope_TR is not None else (None, None)
    assert qkv_TCD.stride()[1:] == (dim, 1)
    tile = 8
    _rotate_and_store[(num_tokens, triton.cdiv(all_heads, tile))](
        qkv_TCD, cos_TR, sin_TR, q_THD, kv_SCD, scale_SC, slots_T,
        qkv_TCD.stride(0), 0 if cos_TR is None else cos_TR.stride(0),
        HEADS=num_heads, KV_HEADS=kv_heads, DIM=dim, DIM_PAD=triton.next_power_of_2(dim),
        PAIRS=1 if cos_TR is None else cos_TR.shape[-1], INTERLEAVED=interleaved, ROTATES=cos_TR is not None,
        IS_INT8=scale_SC is not None, TILE=tile, num_warps=4,
    )  # fmt: skip
    return q_THD
