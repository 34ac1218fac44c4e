"""Linears with weights of few bits. M rows, E features in, N features out, g inputs that share a scale.

w4: affine groups of 4-bit integers, w = scale * q + offset (GGUF Q4_0 and Q4_1, GPTQ, AWQ), times bf16 or fp16 rows.
w8a8: int8 or FP8 (e4m3) weights with a scale for each of G groups of inputs, times rows quantised here alike.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .kv_store import _round_half_even
from .tiles import Tiles, sized


@triton.jit(do_not_specialize=["rows"])
def _w4(
    x_ptr, packed_ptr, scale_ptr, offset_ptr, bias_ptr, out_ptr,
    rows, features_out, features_in, x_stride,
    GROUP: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, HAS_BIAS: tl.constexpr,
):  # fmt: skip
    """A step takes 2 * GROUP inputs: low nibbles hold the even groups, high nibbles the odd ones."""
    m = tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)
    n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    k = tl.arange(0, GROUP)
    in_m, in_n = m < rows, n < features_out
    groups = features_in // GROUP
    acc = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    x_at = x_ptr + m.to(tl.int64)[:, None] * x_stride + k[None, :]
    packed_at = packed_ptr + n.to(tl.int64)[None, :] * (features_in // 2) + k[:, None]
    side = n.to(tl.int64) * groups
    for pair in range(0, groups // 2):
        packed = tl.load(packed_at + pair * GROUP, mask=in_n[None, :], other=0)
        for half in tl.static_range(2):
            group = 2 * pair + half
            x = tl.load(x_at + group * GROUP, mask=in_m[:, None], other=0.0)
            q = (packed >> (4 * half)) & 15
            scale = tl.load(scale_ptr + side + group, mask=in_n, other=0.0).to(tl.float32)
            offset = tl.load(offset_ptr + side + group, mask=in_n, other=0.0).to(tl.float32)
            w = q.to(tl.float32) * scale[None, :] + offset[None, :]
            acc += tl.dot(x, w.to(x.dtype), input_precision="ieee")
    if HAS_BIAS:
        acc += tl.load(bias_ptr + n, mask=in_n, other=0.0).to(tl.float32)[None, :]
    at = out_ptr + m.to(tl.int64)[:, None] * features_out + n[None, :]
    tl.store(at, acc.to(out_ptr.dtype.element_ty), mask=in_m[:, None] & in_n[None, :])


def linear_w4(x_ME: Tensor, packed_NE: Tensor, scale_NG: Tensor, offset_NG: Tensor, bias_N: Tensor | None) -> Tensor:
    """See `kernels.ops.linear_w4`."""
    rows, features_in = x_ME.shape
    features_out, groups = scale_NG.shape
    out_MN = torch.empty(rows, features_out, dtype=x_ME.dtype, device=x_ME.device)
    few = min(256, max(16, triton.next_power_of_2(rows)))
    # Few rows read weights and do little else: more programs, and more loads under way in each.
    is_narrow = features_out <= 8192
    own = Tiles(min(few, 64), 32 if few == 16 and is_narrow else 64, 0, 4, 6 if few <= 32 else 3)
    chosen = sized("w4", (few, is_narrow), own)
    _w4[(triton.cdiv(features_out, chosen.n), triton.cdiv(rows, chosen.m))](
        x_ME, packed_NE, scale_NG, offset_NG, bias_N, out_MN, rows, features_out, features_in, x_ME.stride(0),
        GROUP=features_in // groups, BLOCK_M=chosen.m, BLOCK_N=chosen.n, HAS_BIAS=bias_N is not None,
        num_warps=chosen.warps, num_stages=chosen.stages,
    )  # fmt: skip
    return out_MN


@triton.jit
def _quantise_rows(
    x_ptr, out_ptr, scale_ptr, x_stride, GROUPS: tl.constexpr, SIZE: tl.constexpr, PAD: tl.constexpr,
    LARGEST: tl.constexpr, IS_INT8: tl.constexpr,
):  # fmt: skip
    row, group = tl.program_id(0).to(tl.int64), tl.program_id(1)
    e = tl.arange(0, PAD)
    x = tl.load(x_ptr + row * x_stride + group * SIZE + e, mask=e < SIZE, other=0.0).to(tl.float32)
    scale = tl.maximum(tl.max(tl.abs(x), 0) / LARGEST, 1e-30)
    steps = x / scale
    if IS_INT8:
        steps = _round_half_even(steps)
    steps = tl.minimum(tl.maximum(steps, -LARGEST), LARGEST)
    tl.store(out_ptr + (row * GROUPS + group) * SIZE + e, steps.to(out_ptr.dtype.element_ty), mask=e < SIZE)
    tl.store(scale_ptr + row * GROUPS + group, scale)


def quantise_rows(x_ME: Tensor, dtype: torch.dtype, groups: int = 1) -> tuple[Tensor, Tensor]:
    """(int8 or float8_e4m3fn rows, float32 [M, G] scales): symmetric, the largest of a group on the type's largest."""
    rows, features = x_ME.shape
    size = features // groups
    out = torch.empty(rows, features, dtype=dtype, device=x_ME.device)
    scale_MG = torch.empty(rows, groups, dtype=torch.float32, device=x_ME.device)
    if rows:
        is_int8 = dtype == torch.int8
        _quantise_rows[(rows, groups)](
            x_ME, out, scale_MG, x_ME.stride(0), GROUPS=groups, SIZE=size, PAD=triton.next_power_of_2(size),
            LARGEST=127.0 if is_int8 else 448.0, IS_INT8=is_int8, num_warps=4 if size > 512 else 1,
        )  # fmt: skip
    return out, scale_MG


@triton.jit(do_not_specialize=["rows"])
def _w8a8(
    x_ptr, x_scale_ptr, w_ptr, w_scale_ptr, bias_ptr, out_ptr, rows, features_out, features_in,
    GROUPS: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, IS_INT8: tl.constexpr,
    HAS_BIAS: tl.constexpr,
):  # fmt: skip
    """A step of BLOCK_K inputs lies within one group of them."""
    m = tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)
    n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    k = tl.arange(0, BLOCK_K)
    in_m, in_n = m < rows, n < features_out
    x_at = x_ptr + m.to(tl.int64)[:, None] * features_in + k[None, :]
    w_at = w_ptr + n.to(tl.int64)[None, :] * features_in + k[:, None]
    x_scale_at, w_scale_at = x_scale_ptr + m.to(tl.int64) * GROUPS, w_scale_ptr + n.to(tl.int64) * GROUPS
    size = features_in // GROUPS
    acc = tl.zeros([BLOCK_M, BLOCK_N], tl.int32 if IS_INT8 and GROUPS == 1 else tl.float32)
    for at in range(0, features_in, BLOCK_K):
        here = at + k < features_in
        x = tl.load(x_at + at, mask=in_m[:, None] & here[None, :], other=0.0)
        w = tl.load(w_at + at, mask=in_n[None, :] & here[:, None], other=0.0)
        if IS_INT8:
            products = tl.dot(x, w, out_dtype=tl.int32)
        else:
            # Hopper's tensor cores keep 14 bits of FP8 sums: they are taken over into float32 at each step.
            products = tl.dot(x, w, out_dtype=tl.float32, max_num_imprecise_acc=BLOCK_K)
        if GROUPS == 1:
            acc += products
        else:
            x_scale = tl.load(x_scale_at + at // size, mask=in_m, other=0.0)
            w_scale = tl.load(w_scale_at + at // size, mask=in_n, other=0.0)
            acc += products.to(tl.float32) * x_scale[:, None] * w_scale[None, :]
    out = acc.to(tl.float32)
    if GROUPS == 1:
        out *= tl.load(x_scale_at, mask=in_m, other=0.0)[:, None]
        out *= tl.load(w_scale_at, mask=in_n, other=0.0)[None, :]
    if HAS_BIAS:
        out += tl.load(bias_ptr + n, mask=in_n, other=0.0).to(tl.float32)[None, :]
    at = out_ptr + m.to(tl.int64)[:, None] * features_out + n[None, :]
    tl.store(at, out.to(out_ptr.dtype.element_ty), mask=in_m[:, None] & in_n[None, :])


def fits_w8a8(x_ME: Tensor | None, weight_NE: Tensor, scale_NG: Tensor | None, bias_N: Tensor | None) -> bool:
    """Tensor cores know FP8 from Ada (8.9) on."""
    is_fp8 = weight_NE.dtype == torch.float8_e4m3fn
    return not (is_fp8 and weight_NE.is_cuda and torch.cuda.get_device_capability(weight_NE.device) < (8, 9))


def linear_w8a8(x_ME: Tensor, weight_NE: Tensor, scale_NG: Tensor, bias_N: Tensor | None) -> Tensor:
    """See `kernels.ops.linear_w8a8`."""
    rows, features_in = x_ME.shape
    groups = scale_NG.shape[1]
    steps_ME, scale_MG = quantise_rows(x_ME, weight_NE.dtype, groups)
    out_MN = torch.empty(rows, len(weight_NE), dtype=x_ME.dtype, device=x_ME.device)
    few = min(256, max(16, triton.next_power_of_2(rows)))
    block_m, block_n = min(few, 128), 128 if few > 64 else 64
    own = Tiles(block_m, block_n, 128, 8 if block_m * block_n > 8192 else 4, 5 if few <= 32 else 3)
    chosen = sized("w8a8", (few, weight_NE.dtype == torch.int8, groups == 1), own)
    size = features_in // groups
    block_k = chosen.k if groups == 1 else min(chosen.k, size & -size)
    assert block_k >= 32
    _w8a8[(triton.cdiv(len(weight_NE), chosen.n), triton.cdiv(rows, chosen.m))](
        steps_ME, scale_MG, weight_NE, scale_NG, bias_N, out_MN, rows, len(weight_NE), features_in,
        GROUPS=groups, BLOCK_M=chosen.m, BLOCK_N=chosen.n, BLOCK_K=block_k, IS_INT8=weight_NE.dtype == torch.int8,
        HAS_BIAS=bias_N is not None, num_warps=chosen.warps, num_stages=chosen.stages,
    )  # fmt: skip
    return out_MN
