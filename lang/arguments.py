"""The arguments of a function as one JSON schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .dtype import json_schema_of

_DEFINITIONS = "#/$defs/"


def arguments_schema(hints: Mapping[str, Any], required: Sequence[str]) -> dict[str, Any]:
    """Of an object with these names and types, and no others. TypeError for a type without a schema.

    References point to the root: what the types define stands there, under names of which each means one thing.
    """
    definitions: dict[str, Any] = {}
    properties: dict[str, Any] = {}
    for name, hint in hints.items():
        schema = dict(json_schema_of(hint))
        own = schema.pop("$defs", {})
        renamed = {}
        for title, definition in own.items():
            if definitions.get(title, definition) != definition:
                number = next(n for n in range(2, len(definitions) + 3) if f"{title}_{n}" not in (*definitions, *own))
                renamed[_DEFINITIONS + title] = f"{_DEFINITIONS}{title}_{number}"
        for title, definition in own.items():
            new = renamed.get(_DEFINITIONS + title, _DEFINITIONS + title)
            definitions[new.removeprefix(_DEFINITIONS)] = _pointed(definition, renamed)
        properties[name] = _pointed(schema, renamed)
    made = {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}
    return {"$defs": definitions, **made} if definitions else made


def _pointed(value: Any, renamed: Mapping[str, str]) -> Any:
    """With references to what has another name now."""
    if isinstance(value, dict):
        return {key: _pointed(each, renamed) for key, each in value.items()}
    if isinstance(value, list):
        return [_pointed(each, renamed) for each in value]
    return renamed.get(value, value) if isinstance(value, str) else value
