"""Plain torch: the linear layer."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def pack(weight_NE: Tensor) -> Tensor:
    return weight_NE


def linear(x_TE: Tensor, weight_NE: Tensor, bias_N: Tensor | None = None) -> Tensor:
    return functional.linear(x_TE, weight_NE, bias_N)
