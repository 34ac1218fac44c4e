"""What of a normalised schema no mask enforces: marks in it, which the engine never sees and a judge reads.

Each mark is an object that holds at least the JSON pointer of the keyword that asked for it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .cursor import Path
from .inside import DATA, NAMED, inner_schemas
from .numbers import is_exact_bound, looser

UNIQUE = "x-radixlang-unique"
"""The items are distinct."""
CONTAINS = "x-radixlang-contains"
""" `least` to `most` (None: any number) of the items satisfy `schema`."""
LEAST = "x-radixlang-least"
"""There are `least` properties of different names."""
REFUSES = "x-radixlang-refuses"
"""The value does not satisfy `schema`. In a schema as written: that schema itself, of which no user's can hold one."""
HOLDS = "x-radixlang-holds"
"""The value satisfies `schema`, which would be too much for the engine beside the rest."""
BOUNDS = frozenset(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"])
MARKS = {UNIQUE: "uniqueItems", CONTAINS: "contains", LEAST: "minProperties", REFUSES: "not", HOLDS: "allOf"}
"""Each mark, and the keyword that it stands for."""


class Mark(NamedTuple):
    """A mark somewhere in a schema."""

    keyword: str
    pointer: str


def first_mark(schema: Any) -> Mark | None:
    """The first mark, in the order of the schema; None: masks enforce all of it."""
    if not isinstance(schema, dict):
        return None
    for key, keyword in MARKS.items():
        if key in schema:
            return Mark(keyword, schema[key]["pointer"])
    return next((found for inner in inner_schemas(schema) if (found := first_mark(inner)) is not None), None)


def without_marks(schema: Any) -> Any:
    """What the engine takes: the schema without marks, and without definitions that only they refer to."""
    if not isinstance(schema, dict) or first_mark(schema) is None:
        return schema
    definitions = schema.get("$defs", {})
    root = _stripped({key: value for key, value in schema.items() if key != "$defs"})
    kept: dict[str, Any] = {}
    waiting = _names(root)
    while waiting:
        name = waiting.pop()
        if name in definitions and name not in kept:
            kept[name] = _stripped(definitions[name])
            waiting += _names(kept[name])
    return {**root, "$defs": {name: kept[name] for name in definitions if name in kept}} if kept else root


def _stripped(node: Any) -> Any:
    if not isinstance(node, dict):
        return [_stripped(inner) for inner in node] if isinstance(node, list) else node
    out: dict[str, Any] = {}
    for key, value in node.items():
        if key in NAMED:
            out[key] = {name: _stripped(inner) for name, inner in value.items()}
        elif key in BOUNDS and not is_exact_bound(key, value):
            bound = looser(key, value)
            out |= {} if bound is None else {key: bound}
        elif key == "allOf":
            parts = [part for part in _stripped(value) if part not in ({}, True)]  # of a mark alone nothing is left
            out |= {key: parts} if parts else {}
        elif key not in MARKS:
            out[key] = value if key in DATA else _stripped(value)
    return out


def _names(node: Any) -> list[str]:
    """The definitions to which a schema refers."""
    if not isinstance(node, dict):
        return []
    own = [str(node["$ref"]).removeprefix("#/$defs/")] if isinstance(node.get("$ref"), str) else []
    return own + [name for inner in inner_schemas(node) for name in _names(inner)]


class Places:
    """Where the marks of one normalised schema stand, whatever alternative they belong to."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._definitions: dict[str, Any] = root.get("$defs", {})
        self._root = self._spread([root])
        self._marks: dict[Path, frozenset[str]] = {}
        self._inside: dict[Path, bool] = {}

    def marks(self, path: Path) -> frozenset[str]:
        """The marks of the value at `path`."""
        found = self._marks.get(path)
        if found is None:
            here = self._at(path)
            found = self._marks[path] = frozenset(key for schema in here for key in MARKS if key in schema)
        return found

    def is_watched(self, path: Path) -> bool:
        """Whether the container at `path` has a mark, or something right inside may be refused."""
        found = self._inside.get(path)
        if found is None:
            below = [inner for schema in self._at(path) for inner in _children(schema)]
            found = self._inside[path] = bool(self.marks(path)) or any(
                REFUSES in s or HOLDS in s for s in self._spread(below)
            )
        return found

    def _at(self, path: Path) -> list[dict[str, Any]]:
        here = self._root
        for step in path:
            here = self._spread(self._below(here, step))
        return here

    def _spread(self, schemas: list[Any]) -> list[dict[str, Any]]:
        """The schemas with all that may apply to the same value."""
        found: dict[int, dict[str, Any]] = {}
        waiting = list(schemas)
        while waiting:
            schema = waiting.pop()
            if not isinstance(schema, dict) or id(schema) in found:
                continue
            found[id(schema)] = schema
            waiting += schema.get("allOf", [])
            waiting += schema.get("anyOf", [])
            waiting += [schema[HOLDS]["schema"]] if HOLDS in schema else []
            if "$ref" in schema:
                waiting.append(self._definitions.get(schema["$ref"].removeprefix("#/$defs/")))
        return list(found.values())

    @staticmethod
    def _below(schemas: list[dict[str, Any]], step: str | int) -> list[Any]:
        """The schemas of one property or item; patterns are taken to match every name."""
        found: list[Any] = []
        for schema in schemas:
            if isinstance(step, int):
                prefix = schema.get("prefixItems", [])
                found.append(prefix[step] if step < len(prefix) else schema.get("items"))
            elif step in schema.get("properties", {}):
                found.append(schema["properties"][step])
            else:
                found += schema.get("patternProperties", {}).values()
                found.append(schema.get("additionalProperties"))
        return found


def _children(schema: dict[str, Any]) -> list[Any]:
    named = [*schema.get("properties", {}).values(), *schema.get("patternProperties", {}).values()]
    return [*named, *schema.get("prefixItems", []), schema.get("additionalProperties"), schema.get("items")]
