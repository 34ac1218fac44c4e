"""What must be known of a Hugging Face model that only transformers' modelling code runs, from its config.json alone.

Scheduler and front need the vocabulary, the longest context and the stop tokens; the rest is told to people, and
measured when the model is loaded. Families that we read ourselves are in families.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .config import FOREIGN, ModelConfig
from .facts import MAX_EXTENT, MAX_LAYERS, Facts
from .families import is_known
from .hf_config import refuse_code, token_ids

_NAME = re.compile(r"[\w.-]{1,60}", re.ASCII)
_GENERATES = ("ForCausalLM", "LMHeadModel")


def is_foreign(values: Mapping[str, Any]) -> bool:
    """Whether a config.json names a family that is not ours, and a class of it that generates text."""
    names = values.get("architectures")
    return (
        isinstance(values.get("model_type"), str)
        and _NAME.fullmatch(values["model_type"]) is not None
        and not is_known(values["model_type"])
        and isinstance(names, list)
        and any(isinstance(name, str) and name.endswith(_GENERATES) for name in names)
    )


def foreign_config(values: Mapping[str, Any], path: Path, generation: Mapping[str, Any] | None = None) -> ModelConfig:
    """`values`: config.json; `generation`: generation_config.json, whose stop tokens win.

    Raises BadCheckpoint for values that cannot be, and for a config that wants code of its folder to be run.
    """
    facts = Facts(values, path)
    refuse_code(facts)

    def first(names: tuple[str, ...], default: int | None = None, high: int = MAX_EXTENT) -> int:
        name = next((name for name in names if facts.has(name)), names[0])
        return facts.integer(name, default, high=high)

    vocab = first(("vocab_size",))
    hidden = first(("hidden_size", "n_embd", "d_model", "dim"))
    heads = first(("num_attention_heads", "n_head", "n_heads"), 1, 1 << 16)
    eos = token_ids(Facts(generation or {}, path), "eos_token_id") or token_ids(facts, "eos_token_id")
    bos = facts.integer("bos_token_id", low=0) if facts.has("bos_token_id") else None
    return ModelConfig(
        architecture=FOREIGN + facts.text("model_type"),
        vocab_size=vocab,
        hidden_size=hidden,
        intermediate_size=first(("intermediate_size", "n_inner", "ffn_dim"), 4 * hidden),
        num_layers=first(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), 1, MAX_LAYERS),
        num_heads=heads,
        num_kv_heads=first(("num_key_value_heads",), heads, 1 << 16),
        head_dim=first(("head_dim",), max(1, hidden // heads), 1 << 14),
        max_context=first(("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"), 2048, 1 << 30),
        eos_token_ids=tuple(x for x in eos if x < vocab),
        bos_token_id=bos if bos is None or bos < vocab else None,
        name=facts.text("_name_or_path"),
    )
