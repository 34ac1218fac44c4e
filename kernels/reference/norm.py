"""Plain torch: RMSNorm (arXiv 1910.07467) and LayerNorm, both in float32.

A model's norm offset (Gemma adds 1 to every weight) is added to the weight at load.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def rms_norm(x: Tensor, weight_E: Tensor, eps: float) -> Tensor:
    """weight_E: float32."""
    return functional.rms_norm(x.float(), weight_E.shape, weight_E, eps).to(x.dtype)


def add_rms_norm(x_TE: Tensor, added_TE: Tensor, weight_E: Tensor, eps: float, alpha: float) -> Tensor:
    x_TE.add_(added_TE, alpha=alpha)
    return rms_norm(x_TE, weight_E, eps)


def layer_norm(x: Tensor, weight_E: Tensor, bias_E: Tensor | None, eps: float) -> Tensor:
    """weight_E and bias_E: float32."""
    return functional.layer_norm(x.float(), weight_E.shape, weight_E, bias_E, eps).to(x.dtype)
