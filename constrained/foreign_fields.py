"""Fields that ask for a constraint and that no route reads: other servers' names, and ours in the wrong place.

Who sends them expects an answer that obeys; one that does not would look the same. So they are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from .fields import FIELD_NAMES

_OTHERS = frozenset({
    "bnf", "cfg", "choice", "constraint", "constraints", "dtype", "grammar_lazy", "grammar_triggers",
    "grammar_type", "json", "jsonMode", "jsonSchema", "json_mode", "json_object", "outputSchema", "output_schema",
    "pattern", "regexp", "responseFormat", "responseJsonSchema", "responseSchema", "response_json_schema",
    "response_schema", "schema", "structuralTag", "structural_tags", "structuredOutput", "structuredOutputs",
    "structured_decoding", "structured_output",
})  # fmt: skip
_HOLDERS = frozenset({
    "config", "extra_args", "extra_body", "extra_json", "gen_kwargs", "generationConfig", "generation_config",
    "generation_kwargs", "kwargs", "model_kwargs", "nvext", "options", "parameters", "providerOptions",
    "provider_options", "sampling_params", "text", "vllm_xargs",
})  # fmt: skip
"""Objects in which clients send fields that are read beside them."""
_DEPTH = 4


def unread(name: str, value: Any) -> list[str]:
    """Paths of the constraints that a field asks for which nothing reads; those that say nothing ask for none."""
    return [name] if value and _is_foreign(name) else _within(name, value, frozenset(), _DEPTH)


def unread_in(holder: Mapping[str, Any], known: AbstractSet[str], path: str) -> list[str]:
    """As `unread`, of all in an object at `path` whose `known` fields are read."""
    return _within(path, holder, known, _DEPTH, is_holder=True)


def _within(path: str, value: Any, known: AbstractSet[str], depth: int, *, is_holder: bool = False) -> list[str]:
    name = path.rpartition(".")[2]
    if depth == 0 or not isinstance(value, Mapping) or not (is_holder or name in _HOLDERS):
        return []
    found = []
    for key, inner in value.items():
        if key in known or not inner:
            continue
        below = f"{path}.{key}"
        if key in FIELD_NAMES or _is_foreign(key):
            found.append(below)
        else:
            found += _within(below, inner, frozenset(), depth - 1)
    return found


def _is_foreign(name: str) -> bool:
    """vLLM's guided_decoding_backend and the like choose who enforces: here, one does."""
    return name in _OTHERS or (name.startswith("guided_") and not name.startswith("guided_decoding_"))
