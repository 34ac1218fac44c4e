"""Rotary frequencies of a model, fixed at load. R pairs that turn.

Sources: RoFormer (arXiv 2104.09864); YaRN (arXiv 2309.00071); LongRoPE (arXiv 2402.13753); Llama 3.1's and the dynamic
scaling as in transformers' `modeling_rope_utils`. Where a scaling depends on the length of the sequence (longrope,
dynamic), the served context length decides, once: what a cached key was turned by must not depend on the batch.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .config import RopeConfig


class Frequencies(NamedTuple):
    inverse_R: Tensor
    """float32: radians a position."""
    magnitude: float
    """Multiplies cos and sin."""

    def angles(self, positions_T: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin, float32 [T, R]."""
        angles_TR = positions_T.float()[:, None] * self.inverse_R
        return angles_TR.cos().mul_(self.magnitude), angles_TR.sin().mul_(self.magnitude)


def frequencies(rope: RopeConfig, head_dim: int, *, max_context: int, served_context: int) -> Frequencies:
    """max_context: the model's own limit. served_context: the longest sequence that this process accepts."""
    dim = rope.dim or head_dim
    original = rope.original_max_context or max_context
    theta, magnitude = rope.theta, 1.0
    if rope.kind == "dynamic" and served_context > original:
        stretch = rope.factor * served_context / original - (rope.factor - 1.0)
        theta *= stretch ** (dim / (dim - 2))
    powers_R = torch.arange(0, dim, 2, dtype=torch.int64).float() / dim
    inverse_R = 1.0 / theta**powers_R
    if rope.freq_factors:
        inverse_R = inverse_R / torch.tensor(rope.freq_factors, dtype=torch.float32)
    elif rope.kind == "linear":
        inverse_R = inverse_R / rope.factor
    elif rope.kind == "llama3":
        inverse_R = _llama3(rope, inverse_R, original)
    elif rope.kind == "yarn":
        inverse_R = _yarn(rope, inverse_R, dim, original)
        magnitude = _yarn_magnitude(rope)
    elif rope.kind == "longrope":
        factors = rope.long_factor if served_context > original else rope.short_factor
        inverse_R = 1.0 / (torch.tensor(factors, dtype=torch.float32) * theta**powers_R)
        factor = rope.factor if rope.factor > 1.0 else max_context / original
        magnitude = math.sqrt(1.0 + math.log(factor) / math.log(original)) if factor > 1.0 else 1.0
    return Frequencies(inverse_R, magnitude if rope.attention_factor is None else rope.attention_factor)


def _llama3(rope: RopeConfig, inverse_R: Tensor, original: int) -> Tensor:
    wavelength_R = 2.0 * math.pi / inverse_R
    smooth_R = (original / wavelength_R - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor)
    smooth_R = smooth_R.clamp(0.0, 1.0)
    return (1.0 - smooth_R) * inverse_R / rope.factor + smooth_R * inverse_R


def _yarn(rope: RopeConfig, inverse_R: Tensor, dim: int, original: int) -> Tensor:
    def pair_of(rotations: float) -> float:
        return dim * math.log(original / (rotations * 2.0 * math.pi)) / (2.0 * math.log(rope.theta))

    low, high = pair_of(rope.beta_fast), pair_of(rope.beta_slow)
    if rope.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    ramp_R = (torch.arange(dim // 2, dtype=torch.float32) - low) / (high - low or 0.001)
    ramp_R = ramp_R.clamp(0.0, 1.0)
    return inverse_R / rope.factor * ramp_R + inverse_R * (1.0 - ramp_R)


def _yarn_magnitude(rope: RopeConfig) -> float:
    def scale(mscale: float) -> float:
        return 0.1 * mscale * math.log(rope.factor) + 1.0 if rope.factor > 1.0 else 1.0

    if rope.mscale and rope.mscale_all_dim:
        return scale(rope.mscale) / scale(rope.mscale_all_dim)
    return scale(1.0)
