"""Rotary frequencies of a model, fixed at load, in numpy. R pairs that turn.

The same formulas as runtime/model/rope.py (which needs torch), in double; a test holds the two together. Sources:
RoFormer (arXiv 2104.09864); YaRN (arXiv 2309.00071); LongRoPE (arXiv 2402.13753); Llama 3.1's and the dynamic scaling
as in transformers' `modeling_rope_utils`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    RopeConfig = Any  # runtime/model/config.py: the layer above
    ModelConfig = Any

Float64 = NDArray[np.float64]


class RopeTable(NamedTuple):
    inverse_R: Float64
    """Radians a position."""
    magnitude: float
    """Multiplies cos and sin."""
    interleaved: bool


def of_model(config: ModelConfig, served_context: int) -> list[RopeTable]:
    """One table, or two where the sliding layers turn differently. served_context: tokens of the longest sequence."""
    kinds = [config.rope] if config.local_rope is None else [config.rope, config.local_rope]
    return [_table(kind, config.head_dim, config.max_context, served_context) for kind in kinds]


def _table(rope: RopeConfig, head_dim: int, max_context: int, served: int) -> RopeTable:
    dim = rope.dim or head_dim
    original = rope.original_max_context or max_context
    theta, magnitude = rope.theta, 1.0
    if rope.kind == "dynamic" and served > original:
        theta *= (rope.factor * served / original - (rope.factor - 1.0)) ** (dim / (dim - 2))
    powers_R = np.arange(0, dim, 2, dtype=np.float64) / dim
    inverse_R = theta**-powers_R
    if rope.freq_factors:
        inverse_R = inverse_R / np.asarray(rope.freq_factors, np.float64)
    elif rope.kind == "linear":
        inverse_R = inverse_R / rope.factor
    elif rope.kind == "llama3":
        inverse_R = _llama3(rope, inverse_R, original)
    elif rope.kind == "yarn":
        inverse_R = _yarn(rope, inverse_R, dim, original)
        magnitude = _yarn_magnitude(rope)
    elif rope.kind == "longrope":
        factors = rope.long_factor if served > original else rope.short_factor
        inverse_R = inverse_R / np.asarray(factors, np.float64)
        factor = rope.factor if rope.factor > 1.0 else max_context / original
        magnitude = math.sqrt(1.0 + math.log(factor) / math.log(original)) if factor > 1.0 else 1.0
    if rope.attention_factor is not None:
        magnitude = rope.attention_factor
    return RopeTable(np.ascontiguousarray(inverse_R), magnitude, rope.interleaved)


def _llama3(rope: RopeConfig, inverse_R: Float64, original: int) -> Float64:
    turns_R = original * inverse_R / (2.0 * math.pi)
    smooth_R = (turns_R - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor)
    smooth_R = np.clip(smooth_R, 0.0, 1.0)
    turned_R: Float64 = (1.0 - smooth_R) * inverse_R / rope.factor + smooth_R * inverse_R
    return turned_R


def _yarn(rope: RopeConfig, inverse_R: Float64, dim: int, original: int) -> Float64:
    def pair_of(rotations: float) -> float:
        return dim * math.log(original / (rotations * 2.0 * math.pi)) / (2.0 * math.log(rope.theta))

    low, high = pair_of(rope.beta_fast), pair_of(rope.beta_slow)
    if rope.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    ramp_R = np.clip((np.arange(dim // 2) - low) / (high - low or 0.001), 0.0, 1.0)
    turned_R: Float64 = inverse_R / rope.factor * ramp_R + inverse_R * (1.0 - ramp_R)
    return turned_R


def _yarn_magnitude(rope: RopeConfig) -> float:
    def scale(mscale: float) -> float:
        return 0.1 * mscale * math.log(rope.factor) + 1.0 if rope.factor > 1.0 else 1.0

    if rope.mscale and rope.mscale_all_dim:
        return scale(rope.mscale) / scale(rope.mscale_all_dim)
    return scale(1.0)
