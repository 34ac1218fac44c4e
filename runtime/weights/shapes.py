"""Whether a checkpoint's tensors are those that its config describes: nothing missing, every shape as it must be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from ...errors import BadCheckpoint, WeightMismatch
from ..model.config import ModelConfig


def expected_shapes(config: ModelConfig, has_head: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Canonical names of the weights that a decoder of this config must have, with their shapes."""
    hidden, inner = config.hidden_size, config.intermediate_size
    query, value = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    yield "model.embed_tokens.weight", (config.vocab_size, hidden)
    yield "model.norm.weight", (hidden,)
    if has_head or not config.tie_embeddings:
        yield "lm_head.weight", (config.vocab_size, hidden)
    for layer in range(config.num_layers):
        prefix = f"model.layers.{layer}."
        for norm in filter(None, config.norm_names):
            yield f"{prefix}{norm}.weight", (hidden,)
        if config.qk_norm != "none":
            full = config.qk_norm == "full"
            yield f"{prefix}self_attn.q_norm.weight", (query if full else config.head_dim,)
            yield f"{prefix}self_attn.k_norm.weight", (value if full else config.head_dim,)
        yield f"{prefix}self_attn.q_proj.weight", (query, hidden)
        yield f"{prefix}self_attn.k_proj.weight", (value, hidden)
        yield f"{prefix}self_attn.v_proj.weight", (value, hidden)
        yield f"{prefix}self_attn.o_proj.weight", (hidden, query)
        experts = config.experts_of(layer)
        if experts is None:
            yield from _mlp(f"{prefix}mlp", hidden, inner)
            continue
        yield f"{prefix}mlp.gate.weight", (experts.count, hidden)
        for expert in range(experts.count):
            yield from _mlp(f"{prefix}mlp.experts.{expert}", hidden, experts.size)
        if experts.shared_size:
            yield f"{prefix}mlp.shared_expert_gate.weight", (1, hidden)
            yield from _mlp(f"{prefix}mlp.shared_expert", hidden, experts.shared_size)


def _mlp(prefix: str, hidden: int, inner: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{prefix}.gate_proj.weight", (inner, hidden)
    yield f"{prefix}.up_proj.weight", (inner, hidden)
    yield f"{prefix}.down_proj.weight", (hidden, inner)


def check_shapes(found: Mapping[str, tuple[int, ...]], config: ModelConfig, path: Path) -> None:
    """Raises BadCheckpoint for a missing tensor, WeightMismatch for a wrong shape; a bias is as long as its rows."""
    expected = dict(expected_shapes(config, "lm_head.weight" in found))
    for name, shape in expected.items():
        if name not in found:
            raise BadCheckpoint(f"{path}: tensor {name} is missing; download or convert the model again")
        if found[name] != shape:
            raise _mismatch(path, name, shape, found[name])
    for name, shape in found.items():
        stem, _, kind = name.rpartition(".")
        weight = expected.get(f"{stem}.weight")
        if kind == "bias" and weight is not None and shape != weight[:1]:
            raise _mismatch(path, name, weight[:1], shape)


def _mismatch(path: Path, name: str, wanted: tuple[int, ...], found: tuple[int, ...]) -> WeightMismatch:
    return WeightMismatch(
        f"{path}: tensor {name} should have shape {list(wanted)} by its config, found {list(found)}; config and "
        "weights are of different models: download both again"
    )
