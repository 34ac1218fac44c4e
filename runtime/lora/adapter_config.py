"""adapter_config.json of a peft folder: the rank and the scale of each linear, and what is not served.

The sum that is served is y = W x + scale · B (A x), scale = alpha / rank, or alpha / sqrt(rank) with `use_rslora`
(arXiv 2106.09685, 2312.03732). What peft can do beyond that changes the answer, so it is refused by name.
Source: peft's LoraConfig.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import BadAdapter, BadCheckpoint, ModelNotFound
from ..model.facts import is_finite
from ..weights.json_files import read_json

CONFIG = "adapter_config.json"
_MAX_RANK = 1 << 16
_MAX_PATTERN = 256  # characters
_UNSERVED = {
    "use_dora": "its magnitudes (DoRA) are no low-rank sum; merge the adapter into the model",
    "modules_to_save": "whole modules are trained beside the adapter; merge it into the model, or train it without",
    "target_parameters": "it adapts parameters of experts; merge it into the model",
    "trainable_token_indices": "it trains rows of the embedding; merge it into the model",
    "layer_replication": "it repeats layers of the model; merge it into the model",
    "alora_invocation_tokens": "it begins in the middle of a prompt (aLoRA); merge it into the model",
    "lora_bias": "it trains biases; train it with lora_bias=False",
    "fan_in_fan_out": "its matrices are transposed (Conv1D); train it on a model of linears",
}
_CHANGED_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Initialisations that take their part out of the model's own weights."""


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """What holds for all linears, and patterns of names for which something else does."""

    rank: int
    alpha: float
    is_rank_stabilised: bool
    rank_pattern: dict[str, int]
    alpha_pattern: dict[str, float]

    def rank_of(self, module: str) -> int:
        """`module`: its path in the model that was trained, as in model.layers.0.self_attn.q_proj."""
        return int(_of_pattern(self.rank_pattern, module, self.rank))

    def scale_of(self, module: str) -> float:
        rank = self.rank_of(module)
        alpha = _of_pattern(self.alpha_pattern, module, self.alpha)
        return alpha / (math.sqrt(rank) if self.is_rank_stabilised else rank)


def read_adapter_config(folder: Path) -> AdapterConfig:
    """Raises BadAdapter naming the file and the field, ModelNotFound where there is no such file."""
    try:
        found = read_json(folder / CONFIG)
    except ModelNotFound:
        raise ModelNotFound(
            f"{folder} has no {CONFIG}: not a peft adapter's folder (save_pretrained of peft writes one)",
            param="lora_path",
        ) from None
    except BadCheckpoint as error:
        raise BadAdapter(error.message, param="lora_path") from None
    return _parsed(found, folder / CONFIG)


def _parsed(found: dict[str, Any], file: Path) -> AdapterConfig:
    if str(found.get("peft_type", "LORA")).upper() != "LORA":
        raise _refused(file, f"peft_type is {str(found['peft_type'])[:40]!r}; LORA is served")
    for name, why in _UNSERVED.items():
        if found.get(name):
            raise _refused(file, f"{name} is set: {why}")
    if found.get("bias", "none") != "none":
        raise _refused(file, f'bias is {str(found["bias"])[:40]!r}: it trains biases; train it with bias="none"')
    start = found.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(_CHANGED_BASE):
        raise _refused(
            file,
            f"init_lora_weights is {start[:40]!r}, which changes the model's own weights; convert it to a plain LoRA "
            "with peft's path_initial_model_for_weight_conversion",
        )
    rank = _number(found.get("r", 8), "r", file, least=1)
    if rank != int(rank):
        raise _refused(file, f"r must be a whole number, found {rank}")
    ranks = _pattern(found, "rank_pattern", file, least=1)
    return AdapterConfig(
        rank=int(rank),
        alpha=_number(found.get("lora_alpha", 8), "lora_alpha", file),
        is_rank_stabilised=bool(found.get("use_rslora")),
        rank_pattern={key: int(value) for key, value in ranks.items()},
        alpha_pattern=_pattern(found, "alpha_pattern", file),
    )


def _pattern(found: dict[str, Any], name: str, file: Path, *, least: float | None = None) -> dict[str, float]:
    given = found.get(name) or {}
    if not isinstance(given, dict):
        raise _refused(file, f"{name} must be an object of names and numbers")
    for key in given:
        try:
            if len(key) > _MAX_PATTERN:
                raise re.error("too long")
            re.compile(key)
        except re.error as error:
            raise _refused(
                file, f"{name} has the pattern {key[:40]!r}, which is no regular expression ({error})"
            ) from None
    return {key: _number(value, f"{name}.{key[:80]}", file, least=least) for key, value in given.items()}


def _number(value: object, name: str, file: Path, *, least: float | None = None) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not is_finite(value):
        raise _refused(file, f"{name} must be a number, found {str(value)[:40]!r}")
    if least is not None and not least <= value <= _MAX_RANK:
        raise _refused(file, f"{name} must be in [{least}, {_MAX_RANK}], found {value}")
    return float(value)


def _of_pattern(patterns: dict[str, Any], module: str, default: float) -> float:
    """The first pattern that is the module's path or the end of it, as peft looks them up."""
    for pattern, value in patterns.items():
        if re.fullmatch(rf"(.*\.)?({pattern})", module):
            return float(value)
    return default


def _refused(file: Path, what: str) -> BadAdapter:
    return BadAdapter(f"{file}: {what}", param="lora_path")
