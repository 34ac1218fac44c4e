"""ModelConfig from a Hugging Face config.json (and generation_config.json).

Both generations of the format are read: rope_theta with rope_scaling, and rope_parameters, which may be given for each
kind of layer. What a file leaves out has the default that transformers gives the family. Source: transformers'
configuration_*.py and modeling_rope_utils.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ...errors import BadCheckpoint, UnsupportedModel
from .config import ModelConfig, RopeConfig
from .facts import MAX_LAYERS, Facts, checked
from .families import FAMILIES, family_of
from .hf_experts import experts_of

Activation = Literal["silu", "gelu", "gelu_tanh", "relu2"]

_ACTIVATIONS: dict[str, Activation] = {
    "silu": "silu", "swish": "silu", "gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh", "relu2": "relu2",
}  # fmt: skip
_ROPE_KINDS = {"su": "longrope"}


class _Defaults(NamedTuple):
    """What transformers assumes for a family where the file says nothing."""

    norm_eps: float = 1e-6
    head_dim: int = 0
    tied: bool = False
    rope_theta: float = 10000.0


_DEFAULTS = {
    "gemma": _Defaults(head_dim=256, tied=True),
    "gemma2": _Defaults(head_dim=256, tied=True),
    "gemma3": _Defaults(head_dim=256, tied=True, rope_theta=1e6),
    "mixtral": _Defaults(norm_eps=1e-5, rope_theta=1e6),
    "olmo2": _Defaults(norm_eps=1e-5),
    "olmo3": _Defaults(norm_eps=1e-5, rope_theta=5e5),
    "olmoe": _Defaults(norm_eps=1e-5),
    "phi3": _Defaults(norm_eps=1e-5),
    "qwen3": _Defaults(head_dim=128),
    "seed_oss": _Defaults(head_dim=128),
    "smollm3": _Defaults(tied=True, rope_theta=2e6),
}


def config_from_hf(values: Mapping[str, Any], path: Path, generation: Mapping[str, Any] | None = None) -> ModelConfig:
    """`values`: config.json; `generation`: generation_config.json, whose stop tokens win.

    Raises UnsupportedModel for an architecture or feature that no executor runs, BadCheckpoint for values that cannot
    be, and for a config that wants code of its folder to be run.
    """
    refuse_code(Facts(values, path))
    text = values.get("text_config")
    if isinstance(text, Mapping) and str(text.get("model_type", "")).removesuffix("_text") in FAMILIES:
        values = {**values, **text}  # a multimodal model: its language part
    facts = Facts(values, path)
    architecture, family = family_of(facts.text("model_type") or "(none)", path)
    _refuse_other_tasks(facts)
    defaults = _DEFAULTS.get(architecture, _Defaults())
    hidden, heads = facts.integer("hidden_size"), facts.integer("num_attention_heads", high=1 << 16)
    layers = facts.integer("num_hidden_layers", high=MAX_LAYERS)
    head_dim = facts.integer("head_dim", defaults.head_dim or max(1, hidden // heads), high=1 << 14)
    windows = _windows(facts, architecture, layers)
    max_context = facts.integer("max_position_embeddings", 2048, high=1 << 30)
    rope, local_rope = _ropes(facts, architecture, head_dim, max_context, defaults.rope_theta)
    eos = token_ids(Facts(generation or {}, path), "eos_token_id") or token_ids(facts, "eos_token_id")
    bos = facts.integer("bos_token_id", low=0) if facts.has("bos_token_id") else None
    vocab = facts.integer("vocab_size")
    config = ModelConfig(
        architecture=architecture,
        vocab_size=vocab,
        hidden_size=hidden,
        intermediate_size=facts.integer("intermediate_size"),
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=facts.integer("num_key_value_heads", heads, high=1 << 16),
        head_dim=head_dim,
        max_context=_served_context(rope, max_context),
        norm_eps=facts.number("rms_norm_eps", defaults.norm_eps, low=0, high=1),
        norm_offset=family.norm_offset,
        norm_placement=family.norm_placement,
        qk_norm=family.qk_norm,
        activation=_activation(facts, architecture, family.activation),
        tie_embeddings=facts.flag("tie_word_embeddings", defaults.tied),
        rope=rope,
        local_rope=local_rope,
        windows=windows,
        rope_layers=_rope_layers(facts, architecture, layers),
        attention_scale=_scale(facts, architecture),
        attention_softcap=facts.number("attn_logit_softcapping", 50.0, low=0)
        if _caps(facts, architecture, "attn")
        else 0.0,
        logit_softcap=facts.number("final_logit_softcapping", 30.0, low=0)
        if _caps(facts, architecture, "final")
        else 0.0,
        embedding_multiplier=float(hidden) ** 0.5
        if family.scales_embedding
        else facts.number("embedding_multiplier", 1.0),
        residual_multiplier=facts.number("residual_multiplier", 1.0),
        logit_divisor=facts.number("logits_scaling", 1.0) or 1.0,
        experts=experts_of(facts, architecture, layers),
        eos_token_ids=tuple(x for x in eos if x < vocab),
        bos_token_id=bos if bos is None or bos < vocab else None,
        name=facts.text("_name_or_path"),
    )
    return checked(config, path)


def refuse_code(facts: Facts) -> None:
    """Raises BadCheckpoint for a config.json that asks for Python of the model's folder."""
    if facts.has("auto_map"):
        raise BadCheckpoint(
            f"{facts.path}: auto_map asks for code of the model's folder to be run, which is never done; if the "
            "architecture is a known one, remove auto_map from config.json"
        )


def _refuse_other_tasks(facts: Facts) -> None:
    found = facts.raw("architectures")
    names = [name for name in found if isinstance(name, str)] if isinstance(found, list) else []
    if names and not any(
        name.endswith(("ForCausalLM", "ForConditionalGeneration", "LMHeadModel", "Model")) for name in names
    ):
        raise UnsupportedModel(
            f"{facts.path}: {names[0]} does not generate text; give a ...ForCausalLM checkpoint", param="model"
        )
    if facts.raw("use_bidirectional_attention"):
        raise UnsupportedModel(f"{facts.path}: attention in both directions is not supported", param="model")


def _activation(facts: Facts, architecture: str, default: Activation) -> Activation:
    if architecture == "gemma":  # its files say "gelu" and mean the tanh form
        return default
    name = facts.text("hidden_activation") or facts.text("hidden_act")
    if name and name not in _ACTIVATIONS:
        raise UnsupportedModel(f"{facts.path}: activation {name!r}; known: {', '.join(_ACTIVATIONS)}", param="model")
    return _ACTIVATIONS[name] if name else default


def _caps(facts: Facts, architecture: str, which: str) -> bool:
    """Whether scores are capped: a file may say null; only Gemma 2 does so when nothing is said."""
    key = f"{which}_logit_softcapping"
    return facts.has(key) or (architecture == "gemma2" and key not in facts.values)


def _scale(facts: Facts, architecture: str) -> float:
    if architecture in ("gemma2", "gemma3"):
        return float(facts.number("query_pre_attn_scalar", 256.0, low=1e-6) ** -0.5)
    return facts.number("attention_multiplier", 1.0, low=1e-9) if architecture == "granite" else 0.0


def token_ids(facts: Facts, key: str) -> tuple[int, ...]:
    """One id or a list of them."""
    found = facts.raw(key)
    many = found if isinstance(found, list) else [] if found is None else [found]
    return tuple(dict.fromkeys(Facts({key: one}, facts.path).integer(key, low=0) for one in many[:1024]))


_ALIKE = ("mistral", "mixtral", "olmoe", "qwen3_moe")
"""Families whose layers slide all or none, whatever the file lists."""
_MAY_SLIDE = ("qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "smollm3")
"""Families whose files give a window that counts only where they say so."""


def _windows(facts: Facts, architecture: str, layers: int) -> tuple[int, ...]:
    window = facts.integer(
        "sliding_window", 4096 if architecture in ("gemma2", "gemma3", "olmo3") else 0, low=0, high=1 << 30
    )
    if architecture in _MAY_SLIDE and not facts.flag("use_sliding_window", False):
        window = 0
    kinds = facts.raw("layer_types")
    if isinstance(kinds, list) and architecture not in _ALIKE:
        if len(kinds) != layers:
            raise facts.bad("layer_types", f"must have {layers} entries, found {len(kinds)}")
        unknown = next((kind for kind in kinds if kind not in ("sliding_attention", "full_attention")), None)
        if unknown is not None:
            raise UnsupportedModel(
                f"{facts.path}: layers of kind {str(unknown)[:60]!r} are not supported", param="model"
            )
        slides = [kind == "sliding_attention" for kind in kinds]
    else:
        slides = _default_slides(facts, architecture, layers)
    return tuple(window if slide else 0 for slide in slides) if window and any(slides) else ()


def _default_slides(facts: Facts, architecture: str, layers: int) -> list[bool]:
    if architecture in ("qwen2", "qwen3"):
        first = facts.integer("max_window_layers", 28, low=0)
        return [i >= first for i in range(layers)]
    if architecture == "qwen2_moe":
        first = facts.integer("max_window_layers", 28, low=0)
        return [i % 2 == 0 and i < first for i in range(layers)]
    if architecture in ("gemma2", "gemma3", "olmo3"):
        period = {"gemma2": 2, "olmo3": 4}.get(architecture) or facts.integer("sliding_window_pattern", 6)
        return [(i + 1) % period != 0 for i in range(layers)]
    if architecture == "smollm3":
        rotates = _rope_layers(facts, architecture, layers)
        return [not rotate for rotate in rotates]
    return [architecture in (*_ALIKE, "ministral", "phi3")] * layers


def _rope_layers(facts: Facts, architecture: str, layers: int) -> tuple[bool, ...]:
    """SmolLM3's `no_rope_layers` holds 1 for layers that do rotate."""
    if architecture != "smollm3":
        return ()
    given = facts.numbers("no_rope_layers")
    if given and len(given) != layers:
        raise facts.bad("no_rope_layers", f"must have {layers} entries, found {len(given)}")
    interval = facts.integer("no_rope_layer_interval", 4)
    found = tuple(bool(x) for x in given) or tuple((i + 1) % interval != 0 for i in range(layers))
    return () if all(found) else found


def _ropes(
    facts: Facts, architecture: str, head_dim: int, max_context: int, theta: float
) -> tuple[RopeConfig, RopeConfig | None]:
    """Of the full layers, and of the sliding ones where they differ."""
    given = facts.within("rope_parameters")
    old = facts.within("rope_scaling")
    theta = facts.number("rope_theta", theta, low=1e-6)
    if given.has("full_attention") or given.has("sliding_attention"):
        full, local = given.within("full_attention"), given.within("sliding_attention")
        main = _rope(full, facts, head_dim, max_context, theta)
        sliding = _rope(local, facts, head_dim, max_context, theta)
        return main, None if sliding == main else sliding
    main = _rope(given if given.values else old, facts, head_dim, max_context, theta)
    if architecture == "gemma3":
        local_theta = facts.number("rope_local_base_freq", 10000.0, low=1e-6)
        return main, RopeConfig(theta=local_theta)
    if architecture == "olmo3" and main.kind != "default":
        return main, RopeConfig(theta=main.theta)
    return main, None


def _rope(rope: Facts, facts: Facts, head_dim: int, max_context: int, theta: float) -> RopeConfig:
    name = rope.text("rope_type") or rope.text("type") or "default"
    kind = _ROPE_KINDS.get(name, name)
    share = rope.number(
        "partial_rotary_factor", facts.number("partial_rotary_factor", 1.0, low=0, high=1), low=0, high=1
    )
    dim = int(head_dim * share)
    plain = RopeConfig(theta=rope.number("rope_theta", theta, low=1e-6), dim=0 if dim == head_dim else dim)
    if kind == "default":
        return plain
    if kind not in ("linear", "llama3", "yarn", "longrope", "dynamic"):
        raise UnsupportedModel(
            f"{facts.path}: rope scaling {name!r}; default, linear, llama3, yarn, longrope and dynamic are supported",
            param="model",
        )
    original = rope.integer("original_max_position_embeddings", max_context, high=1 << 30)
    original = facts.integer("original_max_position_embeddings", original, high=1 << 30)
    factor = rope.number("factor", max_context / original if kind == "longrope" else 1.0, low=1e-6)
    attention_factor = rope.number("attention_factor", 1.0) if rope.has("attention_factor") else None
    if kind == "longrope" and factor <= 1.0 and attention_factor is None:
        attention_factor = 1.0  # said, and not for the contexts' ratio to tell
    return RopeConfig(
        theta=plain.theta,
        dim=plain.dim,
        kind=kind,  # type: ignore[arg-type]  # one of the five above
        factor=factor,
        original_max_context=max_context if kind == "dynamic" else original,
        low_freq_factor=rope.number("low_freq_factor", 1.0),
        high_freq_factor=rope.number("high_freq_factor", 4.0),
        beta_fast=rope.number("beta_fast", 32.0) or 32.0,
        beta_slow=rope.number("beta_slow", 1.0) or 1.0,
        truncate=rope.flag("truncate", True),
        attention_factor=attention_factor,
        mscale=rope.number("mscale", 0.0),
        mscale_all_dim=rope.number("mscale_all_dim", 0.0),
        short_factor=rope.numbers("short_factor"),
        long_factor=rope.numbers("long_factor"),
    )


def _served_context(rope: RopeConfig, max_context: int) -> int:
    """YaRN files often keep the unscaled length: the scaled one is served."""
    if rope.kind == "yarn" and rope.original_max_context:
        return max(max_context, int(rope.original_max_context * rope.factor))
    return max_context
