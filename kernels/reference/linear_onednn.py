"""The linear layer on a CPU by oneDNN, with weights packed once at load. M rows, E features in, N features out.

Beside the plain call it saves the repacking of the weight in every step (SmolLM2-135M's linears, one thread of an EPYC
with AVX-512, milliseconds: 43 to 32 for one row, 108 to 61 for 16; bfloat16: 56 to 30 for 16), and a row's result has
the same bits whatever the number of rows: torch's own call takes other kernels for few rows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import cast

import torch
from torch import Tensor

_ROWS = 4
"""Fewer rows are padded to this many: oneDNN's matrix-vector kernel sums in another order, and is no faster."""


@cache
def is_supported(dtype: torch.dtype) -> bool:
    is_available: Callable[[], bool] = torch.backends.mkldnn.is_available
    if not is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype == torch.float32


def pack(weight_NE: Tensor) -> Tensor:
    """An opaque tensor that `linear` takes; it keeps shape and dtype."""
    return cast("Tensor", torch.ops.mkldnn._reorder_linear_weight(weight_NE.contiguous(), 16))


def fits_pack(weight_NE: Tensor) -> bool:
    return is_supported(weight_NE.dtype)


def fits(x_ME: Tensor, weight_NE: Tensor, bias_N: Tensor | None = None) -> bool:
    return weight_NE.is_mkldnn


def linear(x_ME: Tensor, weight_NE: Tensor, bias_N: Tensor | None = None) -> Tensor:
    num_rows = len(x_ME)
    if num_rows < _ROWS:
        padded_ME = x_ME.new_zeros(_ROWS, x_ME.shape[1])
        padded_ME[:num_rows] = x_ME
        x_ME = padded_ME
    out_MN = cast("Tensor", torch.ops.mkldnn._linear_pointwise(x_ME, weight_NE, bias_N, "none", [], ""))
    return out_MN[:num_rows]
