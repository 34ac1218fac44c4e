"""The experts of a GGUF file: Mixtral (declared as llama), Qwen2-MoE, Qwen3-MoE and OLMoE.

Sizes are those of the tensors: files of different converters name them differently, or not at all. Whether a token's
weights are made to sum to one stands in no key: llama.cpp's graphs of these families say so.
Source: llama.cpp's src/models/{llama,qwen2moe,qwen3moe,olmoe}.cpp.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...errors import UnsupportedModel
from .config import ExpertsConfig
from .facts import Facts
from .hf_experts import MAX_EXPERTS

FAMILIES = {"llama": "mixtral", "olmoe": "olmoe", "qwen2moe": "qwen2_moe", "qwen3moe": "qwen3_moe"}
"""Declared architecture of a file with experts to the family that it is."""
_RENORMALISES = ("mixtral", "qwen3_moe")
_SOFTMAX = 1  # of llama.cpp's expert_gating_func; 0: not said


def family_of_experts(facts: Facts, declared: str) -> str | None:
    """None for a file without experts. Raises UnsupportedModel for other families that have some."""
    if not facts.integer("expert_count", 0, low=0, high=MAX_EXPERTS):
        return None
    if declared not in FAMILIES:
        raise UnsupportedModel(
            f"{facts.path}: experts of {declared} are not supported in GGUF files; known: {', '.join(FAMILIES)}",
            param="model",
        )
    return FAMILIES[declared]


def experts_of(facts: Facts, family: str, shapes: Mapping[str, tuple[int, ...]], layers: int) -> ExpertsConfig:
    """shapes: of all tensors by their GGUF names. Raises BadCheckpoint, or UnsupportedModel for another router."""
    if facts.integer("expert_gating_func", 0, low=0, high=1 << 16) not in (0, _SOFTMAX):
        raise UnsupportedModel(f"{facts.path}: experts are chosen by softmax only", param="model")
    if facts.number("expert_weights_scale", 1.0) not in (0.0, 1.0):
        raise UnsupportedModel(f"{facts.path}: scaled weights of experts are not supported", param="model")
    if facts.has("attention.clamp_kqv"):
        raise UnsupportedModel(f"{facts.path}: clip_qkv is not supported", param="model")
    count = facts.integer("expert_count", high=MAX_EXPERTS)
    size = next((found for i in range(layers) if (found := _size(shapes, i))), 0)
    if not size:
        raise facts.bad("expert_count", f"is {count}, but no layer has experts")
    return ExpertsConfig(
        count=count,
        chosen=facts.integer("expert_used_count", high=count),
        size=size,
        renormalises=family in _RENORMALISES,
        shared_size=next((shape[0] for i in range(layers) if (shape := shapes.get(_name(i, "ffn_up_shexp")))), 0),
        dense_layers=tuple(i for i in range(layers) if _name(i, "ffn_gate_inp") not in shapes),
    )


def _size(shapes: Mapping[str, tuple[int, ...]], layer: int) -> int:
    """Rows of an expert's up projection; 0: the layer has none."""
    stacked = shapes.get(_name(layer, "ffn_up_exps"), ())
    fused, alone = shapes.get(_name(layer, "ffn_gate_up_exps"), ()), shapes.get(_name(layer, "ffn_up.0"), ())
    return stacked[1] if len(stacked) == 3 else fused[1] // 2 if len(fused) == 3 else alone[0] if alone else 0


def _name(layer: int, part: str) -> str:
    return f"blk.{layer}.{part}.weight"
