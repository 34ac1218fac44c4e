"""The model families that are read: what their names say and neither config.json nor a GGUF header tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...errors import UnsupportedModel
from .config import NormPlacement, QkNorm


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """What all models of a family share."""

    norm_placement: NormPlacement = "pre"
    qk_norm: QkNorm = "none"
    norm_offset: float = 0.0
    activation: Literal["silu", "gelu", "gelu_tanh", "relu2"] = "silu"
    scales_embedding: bool = False
    """Embeddings are multiplied by sqrt(hidden_size)."""


FAMILIES: dict[str, Family] = {
    "gemma": Family(norm_offset=1.0, activation="gelu_tanh", scales_embedding=True),
    "gemma2": Family(norm_placement="sandwich", norm_offset=1.0, activation="gelu_tanh", scales_embedding=True),
    "gemma3": Family(
        norm_placement="sandwich", qk_norm="head", norm_offset=1.0, activation="gelu_tanh", scales_embedding=True
    ),
    "granite": Family(),
    "llama": Family(),
    "ministral": Family(),
    "mistral": Family(),
    "mixtral": Family(),
    "olmo2": Family(norm_placement="post", qk_norm="full"),
    "olmo3": Family(norm_placement="post", qk_norm="full"),
    "olmoe": Family(qk_norm="full"),
    "phi3": Family(),
    "qwen2": Family(),
    "qwen2_moe": Family(),
    "qwen3": Family(qk_norm="head"),
    "qwen3_moe": Family(qk_norm="head"),
    "seed_oss": Family(),
    "smollm3": Family(),
}

_ALIASES = {"gemma3_text": "gemma3"}


def is_known(architecture: str) -> bool:
    return _ALIASES.get(architecture, architecture) in FAMILIES


def family_of(architecture: str, where: object) -> tuple[str, Family]:
    """The family and its facts. Raises UnsupportedModel naming those that are known."""
    name = _ALIASES.get(architecture, architecture)
    if name not in FAMILIES:
        raise UnsupportedModel(
            f"{where}: the architecture {architecture[:60]!r} is not supported; known: {', '.join(sorted(FAMILIES))}",
            param="model",
        )
    return name, FAMILIES[name]
