"""The experts of a Hugging Face config.json: Mixtral, Qwen2-MoE, Qwen3-MoE and OLMoE.

Source: transformers' configuration_mixtral.py, configuration_qwen2_moe.py, configuration_qwen3_moe.py and
configuration_olmoe.py, whose defaults are taken where a file says nothing.
"""

from __future__ import annotations

from typing import NamedTuple

from ...errors import UnsupportedModel
from .config import ExpertsConfig
from .facts import MAX_LAYERS, Facts

MAX_EXPERTS = 4096


class _Defaults(NamedTuple):
    experts: int
    chosen: int
    size: int = 0
    """0: intermediate_size."""
    shared_size: int = 0
    renormalises: bool = False


_DEFAULTS = {
    "mixtral": _Defaults(8, 2, renormalises=True),
    "olmoe": _Defaults(64, 8),
    "qwen2_moe": _Defaults(60, 4, 1408, 5632),
    "qwen3_moe": _Defaults(128, 8, 768),
}


def experts_of(facts: Facts, architecture: str, layers: int) -> ExpertsConfig | None:
    """None for a family without. Raises BadCheckpoint for values that cannot be, UnsupportedModel for clipped q/k/v."""
    defaults = _DEFAULTS.get(architecture)
    if defaults is None:
        return None
    if facts.has("clip_qkv"):
        raise UnsupportedModel(f"{facts.path}: clip_qkv is not supported", param="model")
    count = facts.integer(
        "num_local_experts", facts.integer("num_experts", defaults.experts, high=MAX_EXPERTS), high=MAX_EXPERTS
    )
    size = (
        facts.integer("moe_intermediate_size", defaults.size) if defaults.size else facts.integer("intermediate_size")
    )
    always = architecture == "mixtral"
    return ExpertsConfig(
        count=count,
        chosen=facts.integer("num_experts_per_tok", min(defaults.chosen, count), high=count),
        size=size,
        renormalises=always or facts.flag("norm_topk_prob", defaults.renormalises),
        shared_size=facts.integer("shared_expert_intermediate_size", defaults.shared_size)
        if defaults.shared_size
        else 0,
        dense_layers=_dense_layers(facts, layers),
    )


def _dense_layers(facts: Facts, layers: int) -> tuple[int, ...]:
    """Listed, or between the experts of every n-th layer (Qwen)."""
    listed = facts.numbers("mlp_only_layers")
    step = facts.integer("decoder_sparse_step", 1, high=MAX_LAYERS)
    return tuple(i for i in range(layers) if i in listed or (i + 1) % step)
