"""`unevaluatedProperties` beside other keywords, written as `additionalProperties` over all that they evaluate.

Which properties are evaluated must be plain from the schema: by itself, by `allOf` and `$ref`, and by the branches of
one `anyOf` or `oneOf`, each of which then closes the object for itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

Find = Callable[[str], Any]
"""The schema to which a reference leads."""

MAX_DEPTH = 32
DYNAMIC = ("anyOf", "oneOf", "if", "then", "else", "dependentSchemas", "dependencies")


class Evaluated(NamedTuple):
    """What a schema says of properties."""

    names: frozenset[str]
    patterns: frozenset[str]
    is_all: bool
    """Every property is evaluated."""

    def __or__(self, other: Evaluated) -> Evaluated:
        return Evaluated(self.names | other.names, self.patterns | other.patterns, self.is_all or other.is_all)


NOTHING = Evaluated(frozenset(), frozenset(), False)


def closed(node: dict[str, Any], find: Find) -> dict[str, Any] | None:
    """The node without `unevaluatedProperties`, its meaning kept or narrowed; None where it is not plain."""
    rest = {key: value for key, value in node.items() if key != "unevaluatedProperties"}
    if "additionalProperties" in node:
        return rest
    demand = node["unevaluatedProperties"]
    choices = [key for key in ("anyOf", "oneOf") if key in node]
    if len(choices) > 1:
        return None
    base = evaluated({key: value for key, value in rest.items() if key not in choices}, find)
    if base is None:
        return None
    if not choices:
        return {**rest, "allOf": [*rest.get("allOf", []), _closing(base, demand)]}
    branches = []
    for branch in node[choices[0]]:
        own = evaluated(branch, find)
        if own is None:
            return None
        branches.append({"allOf": [branch, _closing(base | own, demand)]})
    return {**rest, "allOf": [*rest.get("allOf", []), {"anyOf": branches}]}


def _closing(found: Evaluated, demand: Any) -> Any:
    if found.is_all:
        return True
    closing: dict[str, Any] = {"properties": {name: True for name in sorted(found.names)}}
    if found.patterns:
        closing["patternProperties"] = {pattern: True for pattern in sorted(found.patterns)}
    return {**closing, "additionalProperties": demand}


def evaluated(schema: Any, find: Find, depth: int = 0) -> Evaluated | None:
    """The properties that a schema evaluates whenever it holds; None where that depends on the document."""
    if not isinstance(schema, dict):
        return NOTHING
    if depth > MAX_DEPTH or "$dynamicRef" in schema or "$recursiveRef" in schema:
        return None
    found = Evaluated(
        frozenset(schema.get("properties", {})),
        frozenset(schema.get("patternProperties", {})),
        "additionalProperties" in schema or "unevaluatedProperties" in schema,
    )
    parts = [*schema.get("allOf", [])]
    if "$ref" in schema:
        parts.append(find(schema["$ref"]))
    for part in parts:
        inner = evaluated(part, find, depth + 1)
        if inner is None:
            return None
        found |= inner
    for key in DYNAMIC:
        inner_schemas = schema.get(key, [])
        if key in ("dependentSchemas", "dependencies"):
            inner_schemas = (
                [inner for inner in inner_schemas.values() if isinstance(inner, dict)] if inner_schemas else []
            )
        for part in inner_schemas if isinstance(inner_schemas, list) else [inner_schemas]:
            inner = evaluated(part, find, depth + 1)
            if inner is None or (found | inner) != found:
                return None
    return found
