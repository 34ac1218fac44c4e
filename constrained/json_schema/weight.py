"""How much work a normalised schema makes for the engine, which multiplies alternatives that hold at once.

A unit is a schema that the engine reads or makes: on collections of real schemas 20 to 80 µs. What is inside merged
alternatives counts as often as it is merged; what alternatives make of one property together is left out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .inside import BESIDE

MAX_WEIGHT = 5000
"""Of what the engine is given at first; above, a part is left to a judge."""
MAX_NESTED = 12  # references that lead to references
_MOST = 10**9
_NAMED = ("properties", "patternProperties")
_SINGLE = ("items", "additionalProperties")


def weight(schema: Any) -> int:
    """Units of the whole schema, `$defs` included."""
    return _Scales(schema).all() if isinstance(schema, dict) else 1


def is_too_heavy(schema: Any) -> bool:
    """Whether merging makes the schema more than the engine is given at first: that alone can be left out."""
    if not isinstance(schema, dict):
        return False
    scales = _Scales(schema)
    return scales.all() > MAX_WEIGHT and scales.has_merged


class _Merged(NamedTuple):
    """A schema beside others of the same value."""

    ways: int
    """Alternatives."""
    units: int
    """Over all of them."""


class _Scales:
    def __init__(self, root: dict[str, Any]) -> None:
        self.root = root
        self.definitions: dict[str, Any] = root.get("$defs", {})
        self.known: dict[int, int] = {}  # by identity; 1 while it is being weighed
        self.merged_known: dict[int, _Merged] = {}
        self.has_merged = False

    def all(self) -> int:
        top = {key: value for key, value in self.root.items() if key != "$defs"}
        return min(_MOST, self.alone(top) + sum(map(self.alone, self.definitions.values())))

    def alone(self, schema: Any) -> int:
        """Where nothing else is said of the value; a reference is read once, with the definitions."""
        if not isinstance(schema, dict) or schema.keys() == {"$ref"}:
            return 1
        known = self.known.get(id(schema))
        if known is not None:
            return known
        self.known[id(schema)] = 1
        if schema.keys() == {"anyOf"}:
            found = sum(map(self.alone, schema["anyOf"]))
        elif schema.keys() & BESIDE:
            self.has_merged = True
            found = self.merged(schema, ()).units
        else:
            found = self.inside(schema)
        self.known[id(schema)] = min(_MOST, found)
        return self.known[id(schema)]

    def inside(self, schema: dict[str, Any]) -> int:
        """The schema without its alternatives, with its properties and items."""
        found = 1 + sum(self.alone(inner) for key in _NAMED for inner in schema.get(key, {}).values())
        found += sum(map(self.alone, schema.get("prefixItems", ())))
        return found + sum(self.alone(schema[key]) for key in _SINGLE if key in schema)

    def merged(self, schema: Any, inside: tuple[str, ...]) -> _Merged:
        """`inside`: the definitions that lead here."""
        if not isinstance(schema, dict):
            return _Merged(1, 1)
        known = self.merged_known.get(id(schema))
        if known is not None:
            return known
        parts = [_Merged(1, self.inside(schema)), *(self.merged(part, inside) for part in schema.get("allOf", ()))]
        if "anyOf" in schema:
            options = [self.merged(option, inside) for option in schema["anyOf"]]
            parts.append(_Merged(sum(o.ways for o in options), sum(o.units for o in options)))
        name = str(schema.get("$ref", "")).removeprefix("#/$defs/")
        if name and name not in inside and len(inside) < MAX_NESTED:
            parts.append(self.merged(self.definitions.get(name), (*inside, name)))
        ways = 1
        for part in parts:
            ways = min(_MOST, ways * max(1, part.ways))
        found = _Merged(ways, min(_MOST, sum(part.units * ways // max(1, part.ways) for part in parts)))
        self.merged_known[id(schema)] = found  # also where a circle was cut: once is enough to weigh it
        return found
