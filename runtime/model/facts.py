"""Reading facts out of config.json and GGUF metadata, which come from strangers: typed, ranged, named when wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import BadCheckpoint
from .config import ModelConfig, RopeConfig

MAX_LAYERS = 1024
MAX_EXTENT = 1 << 24
"""Of a hidden size or vocabulary."""
MAX_CONTEXT = 1 << 30
"""Positions are 32-bit integers."""


class Facts:
    """Named values with their types and ranges checked; `path` is told in errors."""

    def __init__(self, values: Mapping[str, Any], path: Path, prefix: str = "") -> None:
        self.values = values
        self.path = path
        self.prefix = prefix

    def bad(self, key: str, why: str) -> BadCheckpoint:
        return BadCheckpoint(f"{self.path}: {self.prefix}{key} {why}; download or convert the model again")

    def raw(self, key: str) -> Any:
        return self.values.get(self.prefix + key)

    def has(self, key: str) -> bool:
        return self.raw(key) is not None

    def integer(self, key: str, default: int | None = None, *, low: int = 1, high: int = MAX_EXTENT) -> int:
        """A whole number in [low, high]; no default: it must be there."""
        found = self.raw(key)
        if found is None:
            if default is None:
                raise self.bad(key, "is missing")
            return default
        if isinstance(found, bool) or not isinstance(found, int):
            raise self.bad(key, f"must be a whole number, found {_short(found)}")
        if not low <= found <= high:
            raise self.bad(key, f"is {_short(found)}, not from {low} to {high}")
        return found

    def number(self, key: str, default: float, *, low: float = -1e30, high: float = 1e30) -> float:
        found = self.raw(key)
        if found is None:
            return default
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise self.bad(key, f"must be a number, found {_short(found)}")
        if not (is_finite(found) and low <= found <= high):
            raise self.bad(key, f"is {_short(found)}, not from {low:g} to {high:g}")
        return float(found)

    def text(self, key: str, default: str = "") -> str:
        found = self.raw(key)
        if found is None:
            return default
        if not isinstance(found, str):
            raise self.bad(key, f"must be text, found {_short(found)}")
        return found

    def flag(self, key: str, default: bool) -> bool:
        found = self.raw(key)
        if found is None:
            return default
        if not isinstance(found, bool):
            raise self.bad(key, f"must be true or false, found {_short(found)}")
        return found

    def numbers(self, key: str) -> tuple[float, ...]:
        found = self.raw(key)
        if found is None:
            return ()
        if not isinstance(found, list | tuple) or len(found) > MAX_EXTENT:
            raise self.bad(key, f"must be a list of numbers, found {_short(found)}")
        if any(isinstance(x, bool) or not isinstance(x, int | float) or not is_finite(x) for x in found):
            raise self.bad(key, "must hold finite numbers only")
        return tuple(float(x) for x in found)

    def within(self, key: str) -> Facts:
        """The object under `key`, empty where there is none."""
        found = self.raw(key)
        if found is not None and not isinstance(found, Mapping):
            raise self.bad(key, f"must be an object, found {_short(found)}")
        return Facts(found or {}, self.path)


def is_finite(value: float) -> bool:
    """Whether a float can hold the number, and it is neither infinite nor NaN."""
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number of more digits than a float holds
        return False


def _short(value: object) -> str:
    if isinstance(value, str):
        return repr(value[:60])
    return str(value)[:60] if value is None or isinstance(value, bool | int | float) else f"a {type(value).__name__}"


def checked(config: ModelConfig, path: Path) -> ModelConfig:
    """The config, once its values agree with each other."""

    def bad(what: str) -> BadCheckpoint:
        return BadCheckpoint(f"{path}: {what}; download or convert the model again")

    if config.num_heads % config.num_kv_heads:
        raise bad(f"{config.num_heads} heads cannot share {config.num_kv_heads} key-value heads")
    if config.max_context > MAX_CONTEXT:
        raise bad(f"a context of {config.max_context} tokens, more than {MAX_CONTEXT}")
    for rope in (config.rope, config.local_rope):
        wrong = None if rope is None else _wrong_rope(rope, config)
        if wrong is not None:
            raise bad(wrong)
    for name in ("windows", "rope_layers"):
        if getattr(config, name) and len(getattr(config, name)) != config.num_layers:
            raise bad(f"{name} must have {config.num_layers} entries")
    for token_id in (*config.eos_token_ids, config.bos_token_id):
        if token_id is not None and not 0 <= token_id < config.vocab_size:
            raise bad(f"special token id {token_id} is outside the vocabulary of {config.vocab_size}")
    return config


def _wrong_rope(rope: RopeConfig, config: ModelConfig) -> str | None:
    """Why its frequencies cannot be computed."""
    dim = rope.dim or config.head_dim
    original = rope.original_max_context or config.max_context
    if dim % 2 or dim > config.head_dim:
        return f"rotary dimension {dim} of a head of {config.head_dim}"
    for name in ("short_factor", "long_factor", "freq_factors"):
        factors = getattr(rope, name)
        if factors and not (len(factors) == dim // 2 and all(0 < x < math.inf for x in factors)):
            return f"rope {name} must be {dim // 2} positive numbers"
    if rope.theta <= 0 or rope.factor <= 0:
        return f"rope theta {rope.theta} and factor {rope.factor} must be positive"
    if rope.kind == "longrope" and not (rope.short_factor and rope.long_factor):
        return "longrope needs short_factor and long_factor"
    if rope.kind == "longrope" and original == 1:
        return "longrope's original context must be more than 1 token"
    if rope.kind == "llama3" and rope.low_freq_factor >= rope.high_freq_factor:
        return f"llama3's low_freq_factor {rope.low_freq_factor} must be less than high_freq_factor"
    if rope.kind == "dynamic" and dim == 2:
        return "dynamic rope needs more than 2 rotary dimensions"
    if rope.kind == "yarn" and (rope.theta == 1 or rope.beta_fast <= 0 or rope.beta_slow <= 0):
        return f"yarn with theta {rope.theta}, beta_fast {rope.beta_fast} and beta_slow {rope.beta_slow}"
    if rope.kind == "yarn" and rope.factor > 1 and not 0.1 * rope.mscale_all_dim * math.log(rope.factor) + 1 > 0:
        return f"yarn's mscale_all_dim {rope.mscale_all_dim} scales by no positive number"
    return None
