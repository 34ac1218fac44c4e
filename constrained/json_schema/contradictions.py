"""What excludes itself, seen through references: types, and names that are required where they are forbidden.

The engine would refuse a schema for one such corner.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .complement import TYPES, types_of

MAX_DEPTH = 12
EVERY = frozenset(TYPES)


_OBJECT = frozenset(["object"])
_SAYS_MORE = frozenset(["$ref", "allOf", "anyOf", "required", "properties", "additionalProperties"])
"""Than its own types."""
_HOLDS = frozenset(
    ["allOf", "anyOf", "properties", "patternProperties", "items", "additionalProperties", "prefixItems"]
)
"""Schemas."""


class _Names(NamedTuple):
    """What a schema says of an object's names, by itself and with all that holds with it."""

    required: frozenset[str]
    forbidden: frozenset[str]
    closed: tuple[frozenset[str], ...]
    """Sets of names: there are no others."""

    def __and__(self, other: _Names) -> _Names:
        return _Names(self.required | other.required, self.forbidden | other.forbidden, self.closed + other.closed)

    @property
    def is_empty(self) -> bool:
        """Whether no object has such names."""
        return bool(self.required & self.forbidden) or any(self.required - names for names in self.closed)


_NO_NAMES = _Names(frozenset(), frozenset(), ())


def without_contradictions(root: Any, definitions: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The same documents; what no type is left for is `false`."""
    cleaner = _Cleaner(definitions)
    return cleaner.clean(root, is_root=True), {name: cleaner.clean(schema) for name, schema in definitions.items()}


def types_left(schema: Any, definitions: dict[str, Any]) -> frozenset[str]:
    """The types that a normalised schema leaves, as far as can be seen."""
    return _Cleaner(definitions).types(schema)


class _Cleaner:
    def __init__(self, definitions: dict[str, Any]) -> None:
        self.definitions = definitions
        self.known: dict[int, frozenset[str]] = {}  # by identity
        self.known_names: dict[int, _Names] = {}

    def types(self, schema: Any, depth: int = 0) -> frozenset[str]:
        """The types that a schema leaves, as far as can be seen."""
        if not isinstance(schema, dict) or depth > MAX_DEPTH:
            return frozenset() if schema is False else EVERY
        known = self.known.get(id(schema))
        if known is not None:
            return known
        found = types_of(schema)
        if _SAYS_MORE.isdisjoint(schema):
            return found
        name = str(schema.get("$ref", "")).removeprefix("#/$defs/")
        if name in self.definitions:
            found &= self.types(self.definitions[name], depth + 1)
        for part in schema.get("allOf", ()):
            found &= self.types(part, depth + 1)
        names = self.names(schema, depth)
        if names.is_empty:
            found -= _OBJECT
        if "anyOf" in schema:
            some: frozenset[str] = frozenset().union(*(self.option(o, names, depth) for o in schema["anyOf"]))
            found &= some
        self.known[id(schema)] = found
        return found

    def option(self, schema: Any, names: _Names, depth: int = 0) -> frozenset[str]:
        """The types that one of several alternatives leaves beside what is said of names around it."""
        found = self.types(schema, depth + 1)
        is_empty = "object" in found and (names & self.names(schema, depth + 1)).is_empty
        return found - _OBJECT if is_empty else found

    def names(self, schema: Any, depth: int = 0) -> _Names:
        """What is said of names, alternatives left out."""
        if not isinstance(schema, dict) or depth > MAX_DEPTH:
            return _NO_NAMES
        if _SAYS_MORE.isdisjoint(schema):
            return _NO_NAMES
        known = self.known_names.get(id(schema))
        if known is not None:
            return known
        self.known_names[id(schema)] = _NO_NAMES  # in case it leads round to itself
        listed = schema.get("properties", {})
        forbidden = frozenset(name for name, inner in listed.items() if inner is False)
        is_closed = schema.get("additionalProperties") is False and not schema.get("patternProperties")
        closed = (frozenset(listed),) if is_closed else ()
        found = _Names(frozenset(schema.get("required", ())), forbidden, closed)
        reference = str(schema.get("$ref", "")).removeprefix("#/$defs/")
        if reference in self.definitions:
            found &= self.names(self.definitions[reference], depth + 1)
        for part in schema.get("allOf", ()):
            found &= self.names(part, depth + 1)
        self.known_names[id(schema)] = found
        return found

    def clean(self, schema: Any, *, is_root: bool = False) -> Any:
        """`is_root`: kept as it is even where nothing fits, so that the refusal says why."""
        if not isinstance(schema, dict):
            return schema
        kinds = self.types(schema)
        if not kinds and not is_root:
            return False
        if _HOLDS.isdisjoint(schema):
            return schema
        out: dict[str, Any] = {}
        for key, value in schema.items():
            if key in ("properties", "patternProperties"):
                out[key] = {name: self.clean(inner) for name, inner in value.items()}
            elif key in ("items", "additionalProperties"):
                out[key] = self.clean(value)
            elif key == "prefixItems":
                out[key] = [self.clean(inner) for inner in value]
            elif key == "allOf":
                out[key] = [self.clean(inner, is_root=is_root) for inner in value]
            elif key == "anyOf":
                # An option that the rest of the schema leaves nothing of is dead.
                names = self.names(schema)
                options = [self.clean(option) for option in value if self.option(option, names) & kinds]
                out[key] = [option for option in options if option is not False] or value
            else:
                out[key] = value
        return out
