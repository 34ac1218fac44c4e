"""The schemas right inside a schema. What stands under a name is one whatever the name is: a property may be `enum`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
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


def with_inner(schema: dict[str, Any], change: Callable[[Any], Any], named: Iterable[str]) -> dict[str, Any]:
    """A normalised schema with the schemas of its parts changed: under the keywords `named`, of items, and of
    alternatives beside which nothing stands. What says something beside other schemas of the same value stays."""
    out = dict(schema)
    for key in named:
        if key in schema:
            out[key] = {name: change(inner) for name, inner in schema[key].items()}
    for key in ("items", "additionalProperties"):
        if key in schema:
            out[key] = change(schema[key])
    if "prefixItems" in schema:
        out["prefixItems"] = [change(inner) for inner in schema["prefixItems"]]
    if "anyOf" in schema and schema.keys() <= {"anyOf", "$defs"}:
        out["anyOf"] = [change(inner) for inner in schema["anyOf"]]
    return out


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
