"""The schemas right inside a schema. What stands under a name is one whatever the name is: a property may be `enum`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

DATA = frozenset(["const", "enum"])
"""Keywords that hold values, in which nothing is a schema."""
NAMED = frozenset(["properties", "patternProperties", "dependentSchemas", "dependencies", "definitions", "$defs"])
"""Keywords that hold schemas by names of the user's."""


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
