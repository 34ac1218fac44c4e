"""Schemas whose objects hold what they list, and nothing else.

A model that may invent property names does, until max_tokens cuts it. So an object that lists its properties and says
nothing of others is asked for without others, as SGLang's grammar engines do. What is generated satisfies the schema
as it was written; to have more names, write additionalProperties.
"""

from __future__ import annotations

import json
from typing import Any

from ..errors import GrammarTooLarge

_OPEN_KEYWORDS = frozenset({"additionalProperties", "patternProperties", "unevaluatedProperties"})
# Beside one of these, an object's properties are told in several places: closing one would refuse the others.
_COMBINING = frozenset({"anyOf", "oneOf", "$ref", "$dynamicRef", "dependentSchemas"})
_ANYWHERE = frozenset({"allOf", "not", "if"})
_LISTS = ("anyOf", "oneOf", "prefixItems")
_MAPS = ("properties", "$defs", "definitions")
_SINGLE = ("items", "contains")


def closed(schema: Any) -> Any:
    """`schema` with additionalProperties: false in each object that lists properties and says nothing of others.

    A schema that combines schemas by allOf, not or if stays as it is.
    """
    return schema if _holds_key(schema, _ANYWHERE) else _closed(schema)


def _holds_key(value: Any, keys: frozenset[str]) -> bool:
    if isinstance(value, dict):
        return not keys.isdisjoint(value) or any(_holds_key(each, keys) for each in value.values())
    return isinstance(value, list) and any(_holds_key(each, keys) for each in value)


def _closed(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    out = dict(schema)
    for key in _MAPS:
        if isinstance(schema.get(key), dict):
            out[key] = {name: _closed(value) for name, value in schema[key].items()}
    for key in _LISTS:
        if isinstance(schema.get(key), list) and (key == "prefixItems" or "properties" not in schema):
            out[key] = [_closed(value) for value in schema[key]]
    for key in _SINGLE:
        if isinstance(schema.get(key), dict):
            out[key] = _closed(schema[key])
    names = schema.get("properties")
    required = schema.get("required", [])
    lists = isinstance(names, dict) and isinstance(required, list) and all(str(name) in names for name in required)
    if lists and _COMBINING.isdisjoint(schema) and _OPEN_KEYWORDS.isdisjoint(schema):
        out["additionalProperties"] = False
    return out


def closed_text(schema: str | dict[str, Any]) -> str:
    """`closed` of JSON text or data, as JSON text; text that is no JSON stays, for the backend to refuse.

    Raises GrammarTooLarge for data nested too deeply to be written.
    """
    try:
        return json.dumps(closed(json.loads(schema) if isinstance(schema, str) else schema))
    except (ValueError, RecursionError):  # no JSON, numbers of thousands of digits, a hundred thousand brackets
        if isinstance(schema, str):
            return schema
        raise GrammarTooLarge("the schema is nested too deeply") from None
