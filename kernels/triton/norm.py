"""RMSNorm (arXiv 1910.07467), alone and behind the addition of a block's output. One program a row."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _rms_norm(
    x_ptr, add_ptr, weight_ptr, out_ptr, x_stride, alpha, eps, SIZE: tl.constexpr, PAD: tl.constexpr, ADDS: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    e = tl.arange(0, PAD)
    here = e < SIZE
    x = tl.load(x_ptr + row * x_stride + e, mask=here, other=0.0)
    if ADDS:
        added = x.to(tl.float32) + alpha * tl.load(add_ptr + row * SIZE + e, mask=here, other=0.0).to(tl.float32)
        x = added.to(x.dtype)
        tl.store(x_ptr + row * x_stride + e, x, mask=here)
    wide = x.to(tl.float32)
    factor = 1.0 / tl.sqrt(tl.sum(wide * wide, 0) / SIZE + eps)
    out = wide * factor * tl.load(weight_ptr + e, mask=here, other=0.0)
    tl.store(out_ptr + row * SIZE + e, out.to(out_ptr.dtype.element_ty), mask=here)


def _warps(size: int) -> int:
    return 4 if size <= 2048 else 8 if size <= 8192 else 16


def rms_norm(x: Tensor, weight_E: Tensor, eps: float) -> Tensor:
    """See `kernels.ops.rms_norm`; x may have gaps between its rows."""
    size = x.shape[-1]
    rows = x.reshape(-1, size)
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    if len(rows):
        _rms_norm[(len(rows),)](
            rows, None, weight_E, out, rows.stride(0), 0.0, eps,
            SIZE=size, PAD=triton.next_power_of_2(size), ADDS=False, num_warps=_warps(size),
        )  # fmt: skip
    return out


def add_rms_norm(x_TE: Tensor, added_TE: Tensor, weight_E: Tensor, eps: float, alpha: float) -> Tensor:
    """See `kernels.ops.add_rms_norm`."""
    size = x_TE.shape[-1]
    assert x_TE.is_contiguous()
    assert added_TE.is_contiguous()
    out_TE = torch.empty_like(x_TE)
    if len(x_TE):
        _rms_norm[(len(x_TE),)](
            x_TE, added_TE, weight_E, out_TE, size, alpha, eps,
            SIZE=size, PAD=triton.next_power_of_2(size), ADDS=True, num_warps=_warps(size),
        )  # fmt: skip
    return out_TE
