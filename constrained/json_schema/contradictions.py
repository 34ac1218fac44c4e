"""Types that exclude each other, seen through references: the engine would refuse a schema for one such corner."""

from __future__ import annotations

from typing import Any

from .complement import TYPES, types_of

MAX_DEPTH = 12
EVERY = frozenset(TYPES)


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

    def types(self, schema: Any, depth: int = 0) -> frozenset[str]:
        """The types that a schema leaves, as far as can be seen."""
        if not isinstance(schema, dict) or depth > MAX_DEPTH:
            return frozenset() if schema is False else EVERY
        known = self.known.get(id(schema))
        if known is not None:
            return known
        found = types_of(schema)
        name = str(schema.get("$ref", "")).removeprefix("#/$defs/")
        if name in self.definitions:
            found &= self.types(self.definitions[name], depth + 1)
        for part in schema.get("allOf", ()):
            found &= self.types(part, depth + 1)
        if "anyOf" in schema:
            some: frozenset[str] = frozenset().union(*(self.types(option, depth + 1) for option in schema["anyOf"]))
            found &= some
        self.known[id(schema)] = found
        return found

    def clean(self, schema: Any, *, is_root: bool = False) -> Any:
        """`is_root`: kept as it is even where nothing fits, so that the refusal says why."""
        if not isinstance(schema, dict):
            return schema
        kinds = self.types(schema)
        if not kinds and not is_root:
            return False
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
                # An option that the rest of the schema leaves no type for is dead.
                options = [self.clean(option) for option in value if self.types(option) & kinds]
                out[key] = [option for option in options if option is not False] or value
            else:
                out[key] = value
        return out
