"""ModelConfig from GGUF metadata. Source: llama.cpp's llama-model.cpp (load_hparams) and convert_hf_to_gguf.py."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ...errors import UnsupportedModel
from .config import ModelConfig, RopeConfig
from .facts import MAX_LAYERS, Facts, checked
from .families import Family, family_of
from .gguf_experts import experts_of, family_of_experts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_ROPE_KINDS: dict[str, Literal["default", "linear", "yarn"]] = {
    "none": "default", "linear": "linear", "yarn": "yarn", "longrope": "default",
}  # fmt: skip
"""A longrope without its factors is no scaling."""


def config_from_gguf(
    metadata: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    small: Mapping[str, NDArray[np.float32]],
    path: Path,
) -> ModelConfig:
    """`shapes`: of all tensors by their GGUF names; `small`: the rope factors that the file holds as tensors.

    Raises UnsupportedModel for an unknown architecture, BadCheckpoint for values that cannot be.
    """
    top = Facts(metadata, path)
    declared = top.text("general.architecture")
    facts = Facts(metadata, path, f"{declared}.")
    with_experts = family_of_experts(facts, declared)
    architecture, family = family_of(with_experts or declared, path)
    embedding = shapes.get("token_embd.weight", ())
    if len(embedding) != 2:
        raise top.bad("token_embd.weight", "is missing or not a matrix")
    hidden = facts.integer("embedding_length")
    heads = _per_layer(facts, "attention.head_count", None)
    layers = facts.integer("block_count", high=min(MAX_LAYERS, len(shapes)))
    kv_heads = _per_layer(facts, "attention.head_count_kv", heads)
    head_dim = facts.integer("attention.key_length", max(1, hidden // heads), high=1 << 14)
    if facts.integer("attention.value_length", head_dim) != head_dim:
        raise UnsupportedModel(f"{path}: keys and values of different lengths are not supported")
    vocab = embedding[0]
    experts = None if with_experts is None else experts_of(facts, with_experts, shapes, layers)
    config = ModelConfig(
        architecture=architecture,
        vocab_size=vocab,
        hidden_size=hidden,
        intermediate_size=_per_layer(facts, "feed_forward_length", None if experts is None else experts.size),
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=head_dim,
        max_context=facts.integer("context_length", high=1 << 30),
        norm_eps=facts.number("attention.layer_norm_rms_epsilon", 1e-5, low=0, high=1),
        norm_offset=family.norm_offset,
        norm_placement=family.norm_placement,
        qk_norm=family.qk_norm,
        activation=family.activation,
        tie_embeddings="output.weight" not in shapes,
        rope=_rope(facts, head_dim, small),
        local_rope=_local_rope(facts, architecture, head_dim),
        windows=_windows(facts, architecture, layers),
        rope_layers=tuple((i + 1) % 4 != 0 for i in range(layers)) if architecture == "smollm3" else (),
        attention_scale=_scale(facts, architecture, hidden, heads, layers),
        attention_softcap=facts.number("attn_logit_softcapping", 50.0 if architecture == "gemma2" else 0.0, low=0),
        logit_softcap=facts.number("final_logit_softcapping", 30.0 if architecture == "gemma2" else 0.0, low=0),
        embedding_multiplier=_embedding_multiplier(facts, family, hidden),
        residual_multiplier=facts.number("residual_scale", 1.0) or 1.0,
        experts=experts,
        logit_divisor=facts.number("logit_scale", 1.0) or 1.0,
        eos_token_ids=_eos(top),
        bos_token_id=top.integer("tokenizer.ggml.bos_token_id", 0, low=0)
        if top.has("tokenizer.ggml.bos_token_id")
        else None,
        name=top.text("general.name"),
    )
    return checked(config, path)


def _per_layer(facts: Facts, key: str, default: int | None) -> int:
    """A number that some files give for each layer; it must be the same in all of them."""
    found = facts.raw(key)
    if isinstance(found, memoryview):
        if len(set(found)) != 1:
            raise UnsupportedModel(f"{facts.path}: {facts.prefix}{key} differs between layers, which is not supported")
        return Facts({key: found[0]}, facts.path).integer(key)
    return facts.integer(key, default)


def _eos(top: Facts) -> tuple[int, ...]:
    found: list[int] = []
    for key in ("eos_token_id", "eot_token_id", "eom_token_id"):
        if top.has(f"tokenizer.ggml.{key}"):
            found.append(top.integer(f"tokenizer.ggml.{key}", low=0))
    return tuple(dict.fromkeys(found))


def _rope(facts: Facts, head_dim: int, small: Mapping[str, NDArray[np.float32]]) -> RopeConfig:
    def factors(name: str) -> tuple[float, ...]:
        return tuple(float(x) for x in small[name].reshape(-1)) if name in small else ()

    kind = facts.text("rope.scaling.type", "none")
    if kind not in _ROPE_KINDS:
        raise UnsupportedModel(
            f"{facts.path}: rope scaling {kind[:60]!r}; none, linear, yarn and longrope are supported"
        )
    long, short = factors("rope_factors_long.weight"), factors("rope_factors_short.weight")
    dim = facts.integer("rope.dimension_count", head_dim, high=1 << 14)
    return RopeConfig(
        theta=facts.number("rope.freq_base", 10000.0, low=1e-6),
        dim=0 if dim == head_dim else dim,
        kind="longrope" if long else _ROPE_KINDS[kind],
        factor=facts.number("rope.scaling.factor", facts.number("rope.scale_linear", 1.0)) or 1.0,
        original_max_context=facts.integer("rope.scaling.original_context_length", 0, low=0, high=1 << 30),
        attention_factor=_attention_factor(facts, kind),
        beta_fast=facts.number("rope.scaling.yarn_beta_fast", 32.0),
        beta_slow=facts.number("rope.scaling.yarn_beta_slow", 1.0),
        short_factor=short,
        long_factor=long,
        freq_factors=factors("rope_freqs.weight"),
    )


def _attention_factor(facts: Facts, kind: str) -> float | None:
    """ggml multiplies YaRN's own factor by the file's; the others are the file's alone."""
    if not facts.has("rope.scaling.attn_factor"):
        return None
    given = facts.number("rope.scaling.attn_factor", 1.0)
    stretch = facts.number("rope.scaling.factor", 1.0, low=1e-6)
    return given * (0.1 * math.log(stretch) + 1.0) if kind == "yarn" and stretch > 1.0 else given


def _local_rope(facts: Facts, architecture: str, head_dim: int) -> RopeConfig | None:
    if architecture != "gemma3":
        return None
    return RopeConfig(theta=facts.number("rope.freq_base_swa", 10000.0, low=1e-6))


def _windows(facts: Facts, architecture: str, layers: int) -> tuple[int, ...]:
    """Which layers slide: the file says how wide, llama.cpp knows the pattern of each family."""
    window = facts.integer("attention.sliding_window", 0, low=0, high=1 << 30)
    if not window:
        return ()
    pattern = facts.raw("attention.sliding_window_pattern")
    if isinstance(pattern, memoryview):
        if len(pattern) != layers:
            raise facts.bad("attention.sliding_window_pattern", f"must have {layers} entries")
        return tuple(window if slides else 0 for slides in pattern.tolist())
    period = facts.integer(
        "attention.sliding_window_pattern", {"gemma2": 2, "gemma3": 6, "olmo2": 4}.get(architecture, 1)
    )
    return tuple(0 if period > 1 and (i + 1) % period == 0 else window for i in range(layers))


def _scale(facts: Facts, architecture: str, hidden: int, heads: int, layers: int) -> float:
    # The 27B models of Gemma 2 (46 layers) and 3 (62) scale by hidden / heads; no key says so.
    if (architecture, layers) in (("gemma2", 46), ("gemma3", 62)):
        return float((hidden / heads) ** -0.5)
    return facts.number("attention.scale", 0.0, low=0)


def _embedding_multiplier(facts: Facts, family: Family, hidden: int) -> float:
    return float(hidden) ** 0.5 if family.scales_embedding else facts.number("embedding_scale", 1.0) or 1.0
