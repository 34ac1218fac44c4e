"""What the runtime calls: the one place that states the shapes of the torch ops.

T packed tokens, H query heads, K kv heads, C = 2K cached heads of a slot (K's, then V's), D head dim, R rotated dims,
S slots, E features in, N features out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .registry import find

if TYPE_CHECKING:
    from torch import Tensor

    from .reference.batch import PackedBatch


def attention(
    q_THD: Tensor,
    kv_SCD: Tensor,
    scale_SC: Tensor | None,
    batch: PackedBatch,
    *,
    scale: float,
    window: int = 0,
    softcap: float = 0.0,
) -> Tensor:
    """Each row against its sequence's cached slots, causal by position; returns [T, H, D] in q's dtype.

    scale_SC: float32 factors of an int8 pool, else None. window: positions a row sees, its own included; 0: all.
    softcap: cap·tanh(score / cap) before the mask; 0: none. Query head h reads kv head h * K // H.
    """
    kernel = find(
        "attention", q_THD.device.type, q_THD, kv_SCD, scale_SC, batch, scale=scale, window=window, softcap=softcap
    )
    out: Tensor = kernel(q_THD, kv_SCD, scale_SC, batch, scale=scale, window=window, softcap=softcap)
    return out


def store_kv(kv_SCD: Tensor, scale_SC: Tensor | None, rows_TCD: Tensor, slots_T: Tensor) -> None:
    """Writes the rows' K and V to their slots, in the pool's type (int8: one scale a head of a token)."""
    find("store_kv", kv_SCD.device.type, kv_SCD, scale_SC, rows_TCD, slots_T)(kv_SCD, scale_SC, rows_TCD, slots_T)


def pack_linear(weight_NE: Tensor) -> Tensor:
    """The weight in the form that `linear` likes best; opaque but for its shape and dtype."""
    packed: Tensor = find("pack_linear", weight_NE.device.type, weight_NE)(weight_NE)
    return packed


def linear(x_TE: Tensor, weight_NE: Tensor, bias_N: Tensor | None = None) -> Tensor:
    """x · weightᵀ + bias: [T, N]; the weight may come from `pack_linear`."""
    out: Tensor = find("linear", x_TE.device.type, x_TE, weight_NE, bias_N)(x_TE, weight_NE, bias_N)
    return out


def rms_norm(x: Tensor, weight_E: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x²) + eps) · weight over the last dimension, in float32; returns x's dtype."""
    out: Tensor = find("rms_norm", x.device.type, x, weight_E, eps)(x, weight_E, eps)
    return out


def layer_norm(x: Tensor, weight_E: Tensor, bias_E: Tensor | None, eps: float) -> Tensor:
    """(x - mean) / sqrt(var + eps) · weight + bias over the last dimension, in float32; returns x's dtype."""
    out: Tensor = find("layer_norm", x.device.type, x, weight_E, bias_E, eps)(x, weight_E, bias_E, eps)
    return out


def rotate(x_THD: Tensor, cos_TR: Tensor, sin_TR: Tensor, *, interleaved: bool) -> None:
    """Turns the first 2R dimensions of every head in place; cos and sin are [T, R], one angle a pair."""
    find("rotate", x_THD.device.type, x_THD, cos_TR, sin_TR, interleaved=interleaved)(
        x_THD, cos_TR, sin_TR, interleaved=interleaved
    )


def gated(gate_up_TN: Tensor, kind: str) -> Tensor:
    """activation(gate) · up, gate and up side by side in the last dimension: [T, N / 2]."""
    out: Tensor = find("gated", gate_up_TN.device.type, gate_up_TN, kind)(gate_up_TN, kind)
    return out


def activate(x_TN: Tensor, kind: str) -> Tensor:
    """The activation alone, of an MLP without a gate."""
    out: Tensor = find("activate", x_TN.device.type, x_TN, kind)(x_TN, kind)
    return out
