"""What the runtime calls: the one place that states the shapes of the torch ops.

T packed tokens, H query heads, K kv heads, C = 2K cached heads of a slot (K's, then V's), D head dim, R rotated dims,
S slots, E features in, N features out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from .registry import best, find

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
    """q [T, H, D] with rotary positions applied; k, turned alike, and v are written to the rows' slots.

    qkv_TCD: H query heads, K key heads, K value heads; q and k may be changed in place. rope_TR: cos and sin [T, R],
    one angle a pair of dimensions; None: no rotation. An int8 pool has one float32 scale a head of a token, in
    scale_SC.
    """
    q_THD: Tensor = find("rotate_and_store", qkv_TCD.device.type, qkv_TCD, rope_TR, kv_SCD, scale_SC, slots_T)(
        qkv_TCD, rope_TR, kv_SCD, scale_SC, slots_T, num_heads=num_heads, interleaved=interleaved
    )
    return q_THD


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


def add_rms_norm(x_TE: Tensor, added_TE: Tensor, weight_E: Tensor, eps: float, alpha: float) -> Tensor:
    """x += alpha · added, in place and rounded to x's dtype; returns `rms_norm` of the sum."""
    out: Tensor = find("add_rms_norm", x_TE.device.type, x_TE, added_TE, weight_E, eps, alpha)(
        x_TE, added_TE, weight_E, eps, alpha
    )
    return out


def gated(gate_up_TN: Tensor, kind: str) -> Tensor:
    """activation(gate) · up, gate and up side by side in the last dimension: [T, N / 2]."""
    out: Tensor = find("gated", gate_up_TN.device.type, gate_up_TN, kind)(gate_up_TN, kind)
    return out


def activate(x_TN: Tensor, kind: str) -> Tensor:
    """The activation alone, of an MLP without a gate."""
    out: Tensor = find("activate", x_TN.device.type, x_TN, kind)(x_TN, kind)
    return out


def linear_w4(x_TE: Tensor, packed_NE: Tensor, scale_NG: Tensor, offset_NG: Tensor, bias_N: Tensor | None) -> Tensor:
    """x · wᵀ + bias, w = scale · q + offset with 4-bit q in G groups of equal size: [T, N] in x's dtype.

    packed_NE: uint8 [N, E / 2]; byte i of two neighbouring groups holds input i of the first in its low bits, of the
    second in its high bits.
    """
    out: Tensor = find("linear_w4", x_TE.device.type, x_TE, packed_NE, scale_NG, offset_NG, bias_N)(
        x_TE, packed_NE, scale_NG, offset_NG, bias_N
    )
    return out


def linear_w8a8(x_TE: Tensor, weight_NE: Tensor, scale_NG: Tensor, bias_N: Tensor | None) -> Tensor:
    """x · (scale · weight)ᵀ + bias, both factors in 8 bits (int8, or FP8 e4m3): [T, N] in x's dtype.

    Rows of x are quantised here, symmetrically, with one scale for each of the G equal groups of inputs that share a
    float32 scale in the weight; a group has a multiple of 32 inputs, or is the whole row.
    """
    out: Tensor = find("linear_w8a8", x_TE.device.type, x_TE, weight_NE, scale_NG, bias_N)(
        x_TE, weight_NE, scale_NG, bias_N
    )
    return out


def computes_as_stored(op: Literal["linear_w4", "linear_w8a8"], weight: Tensor) -> bool:
    """Whether a kernel of `op` takes the weight where it lies; elsewhere plain torch is faster on dense weights."""
    return best(op, weight.device.type, None, weight, None, None).rank > 0


def moe(
    x_TE: Tensor, gate_up_XNE: Tensor, down_XEI: Tensor, experts_TK: Tensor, weights_TK: Tensor, kind: str
) -> Tensor:
    """Sum over a row's K chosen experts of weight · down(gated(gate_up(x))): [T, E]; X experts, I = N / 2."""
    out: Tensor = find("moe", x_TE.device.type, x_TE, gate_up_XNE, down_XEI, experts_TK, weights_TK, kind)(
        x_TE, gate_up_XNE, down_XEI, experts_TK, weights_TK, kind
    )
    return out


def add_lora(
    out_TN: Tensor, x_TE: Tensor, down_XRE: Tensor, up_XNR: Tensor, scale_X: Tensor, adapter_T: Tensor
) -> None:
    """out += scale · (x · downᵀ) · upᵀ with each row's own adapter of X (LoRA, arXiv 2106.09685); -1: none."""
    find("add_lora", x_TE.device.type, out_TN, x_TE, down_XRE, up_XNR, scale_X, adapter_T)(
        out_TN, x_TE, down_XRE, up_XNR, scale_X, adapter_T
    )


def sample_rows(
    logits_RV: Tensor,
    logit_rows_S: Tensor,
    numbers_S6: Tensor,
    integers_S6: Tensor,
    random_S: Tensor,
    *,
    masks_MW: Tensor,
    bias_ids: Tensor,
    bias_values: Tensor,
    penalty_ids: Tensor,
    penalty_counts: Tensor,
) -> Tensor:
    """Tokens, int32 [S], by the rules of `kernels.reference.sampling`. The logits (float32) are not changed.

    logit_rows_S: int32, the row that a sample reads. numbers_S6: float32 temperature, top_p, min_p, frequency,
    presence, repetition. integers_S6: int32 top_k (0: all), mask row (-1: none), begin and end of the sample's bias,
    begin and end of its penalties, in the four flat lists. random_S: float64 in [0, 1). masks_MW: int32 words.
    """
    out: Tensor = find("sample_rows", logits_RV.device.type, logits_RV)(
        logits_RV, logit_rows_S, numbers_S6, integers_S6, random_S, masks_MW=masks_MW, bias_ids=bias_ids,
        bias_values=bias_values, penalty_ids=penalty_ids, penalty_counts=penalty_counts,
    )  # fmt: skip
    return out


def logprobs_of(logits_RV: Tensor, rows_N: Tensor, ids_N: Tensor) -> Tensor:
    """Natural log-probabilities of ids_N (int32) in rows_N (int32), float32 [N]; no matrix of R · V is made."""
    out: Tensor = find("logprobs_of", logits_RV.device.type, logits_RV)(logits_RV, rows_N, ids_N)
    return out
