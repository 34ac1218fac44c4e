"""Definitions that the engine finds nothing to fit, where the whole schema may do without them.

The engine gives up a schema for one of its definitions, though only an item or an optional property refers to it.
"""

from __future__ import annotations

import json
from typing import Any

import llguidance

from .contradictions import types_left, without_contradictions
from .productive import prune

MAX_TRIES = 300
"""Definitions that are given to the engine; each takes a fraction of a millisecond."""
_UNSATISFIABLE = "nsatisfiable"


def without_empty_definitions(schema: dict[str, Any]) -> Any:
    """The same documents, of a schema in the engine's words; itself where no definition is known to be empty."""
    definitions: dict[str, Any] = schema.get("$defs", {})
    root: Any = {key: value for key, value in schema.items() if key != "$defs"}
    left = MAX_TRIES
    is_changed = False
    while definitions and (left := left - 2 * len(definitions)) >= 0:
        failing = [name for name, inner in definitions.items() if _is_empty(inner, definitions)]
        outlines = {name: {"type": sorted(types_left(definitions[name], definitions))} for name in failing}
        empty = {name for name in failing if _is_empty(definitions[name], definitions | outlines)}  # for itself
        if not empty:
            break
        is_changed = True
        kept = definitions.keys() - empty
        pruned = {name: prune(inner, kept) for name, inner in definitions.items() if name in kept}
        root, definitions = without_contradictions(prune(root, kept), pruned)
    if not is_changed or not isinstance(root, dict):
        return root if is_changed else schema
    return {**root, "$defs": definitions} if definitions else root


def _is_empty(schema: Any, definitions: dict[str, Any]) -> bool:
    if not isinstance(schema, dict):
        return schema is False
    whole = json.dumps({**schema, "$defs": definitions})
    try:
        grammar = llguidance.LLMatcher.grammar_from_json_schema(whole)
    except ValueError:  # a number that its reader does not take
        return False
    return _UNSATISFIABLE in llguidance.LLMatcher.validate_grammar(grammar)
