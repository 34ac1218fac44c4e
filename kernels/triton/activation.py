"""Gated activations: activation(gate) * up, gate and up side by side. T tokens, N = 2 * intermediate size."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_KINDS = {"silu": 0, "gelu": 1, "gelu_tanh": 2, "relu2": 3}
_BLOCK = 1024


@triton.jit
def _gated(in_ptr, out_ptr, in_stride, half, KIND: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    here = n < half
    gate = tl.load(in_ptr + row * in_stride + n, mask=here, other=0.0)
    up = tl.load(in_ptr + row * in_stride + half + n, mask=here, other=0.0)
    x = gate.to(tl.float32)
    if KIND == 0:
        y = x / (1.0 + tl.exp(-x))
    elif KIND == 1:
        y = 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))
    elif KIND == 2:
        inner = 0.7978845608028654 * (x + 0.044715 * x * x * x)
        e = tl.exp(-2.0 * tl.abs(inner))
        t = (1.0 - e) / (1.0 + e)
        y = 0.5 * x * (1.0 + tl.where(inner >= 0, t, -t))
    else:
        y = tl.where(x > 0, x * x, 0.0)
    # The activation is rounded to the working type before the product, as models were trained.
    out = y.to(gate.dtype).to(tl.float32) * up.to(tl.float32)
    tl.store(out_ptr + row * half + n, out.to(out_ptr.dtype.element_ty), mask=here)


def gated(gate_up_TN: Tensor, kind: str) -> Tensor:
    """See `kernels.ops.gated`."""
    half = gate_up_TN.shape[-1] // 2
    out = torch.empty(len(gate_up_TN), half, dtype=gate_up_TN.dtype, device=gate_up_TN.device)
    if len(out):
        _gated[(len(out), triton.cdiv(half, _BLOCK))](
            gate_up_TN, out, gate_up_TN.stride(0), half, KIND=_KINDS[kind], BLOCK=_BLOCK, num_warps=4
        )
    return out
