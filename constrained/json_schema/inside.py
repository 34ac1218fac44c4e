"""The schemas right inside a schema. What stands under a name is one whatever the name is: a property may be `enum`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

DATA = frozenset(["const", "enum"])
"""Keywords that hold values, in which nothing is a schema."""
NAMED = frozenset(["properties", "patternProperties", "dependentSchemas", "dependencies", "definitions", "$defs"])
"""Keywords that hold schemas by names of the user's."""
BESIDE = frozenset(["allOf", "anyOf", "$ref", "$defs"])
"""Keywords of a normalised schema whose schemas say something of the same value, and its definitions."""


def inner_schemas(schema: dict[str, Any]) -> Iterator[Any]:
    """Also what is no schema, such as a bound: callers look for dicts. `$defs` included."""
    for key, value in schema.items():
        if key in DATA:
            continue
        if key in NAMED and isinstance(value, dict):
            yield from value.values()
        elif isinstance(value, list):
            yield from value
        else:
            yield value


def parts_of(schema: Any) -> list[Any]:
    """Schemas that together say the same, `$defs` left out: each reference and each set of alternatives by itself.

    In the order in which the engine takes up names of properties: that of the keywords.
    """
    if not isinstance(schema, dict):
        return [schema]
    own = {key: value for key, value in schema.items() if key not in BESIDE}
    found: list[Any] = [own] if own and "properties" not in own else []
    for key, value in schema.items():
        if key == "allOf":
            found += [part for inner in value for part in parts_of(inner)]
        elif key in ("$ref", "anyOf"):
            found.append({key: value})
        elif key == "properties":
            found.append(own)
    return found
