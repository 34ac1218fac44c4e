"""`unevaluatedProperties` and `unevaluatedItems` beside other keywords, closed over all that these evaluate.

They become `additionalProperties` and `items`. What is evaluated must be plain from the schema: by itself, by `allOf`
and `$ref`, and in each case that `anyOf`, `oneOf`, `if` and `dependentSchemas` leave open; every case then closes the
object or array for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any, NamedTuple

from .checks import IN_PLACE

Find = Callable[[str], Any]
"""The schema to which a reference leads."""

UNEVALUATED = {
    "unevaluatedProperties": IN_PLACE,
    "unevaluatedItems": IN_PLACE | {"contains"},
}
"""Keywords whose meaning depends on what others beside them evaluate, and those others."""
MAX_DEPTH = 32
MAX_CASES = 40


class Evaluated(NamedTuple):
    """What a schema says of properties, or of items."""

    names: frozenset[str] = frozenset()
    patterns: frozenset[str] = frozenset()
    length: int = 0
    """The first items."""
    is_all: bool = False
    """Every property or item is evaluated."""

    def __or__(self, other: Evaluated) -> Evaluated:
        names, patterns = self.names | other.names, self.patterns | other.patterns
        return Evaluated(names, patterns, max(self.length, other.length), self.is_all or other.is_all)


NOTHING = Evaluated()


class Case(NamedTuple):
    """Schemas that hold, and what they evaluate."""

    guards: tuple[Any, ...]
    evaluated: Evaluated


def closed(node: dict[str, Any], key: str, find: Find, *, may_narrow: bool = False) -> dict[str, Any] | None:
    """The node without `key`, which is one of the two, its meaning kept; None where that is not plain.

    `may_narrow`: of many alternatives of `anyOf` only one at a time need count as holding.
    """
    rest = {name: value for name, value in node.items() if name != key}
    own = _properties if key == "unevaluatedProperties" else _items
    known = own(rest)
    if known is not None and known.is_all:
        return rest
    cases = _Cases(find, own, may_narrow).of(rest)
    if cases is None:
        return None
    close = _closed_object if key == "unevaluatedProperties" else _closed_array
    options: list[Any] = [
        {"allOf": [*case.guards, True if case.evaluated.is_all else close(case.evaluated, node[key])]} for case in cases
    ]
    beside = options[0]["allOf"] if len(options) == 1 else [{"anyOf": options}]
    return {**rest, "allOf": [*rest.get("allOf", []), *beside]}


def _properties(schema: dict[str, Any]) -> Evaluated:
    is_all = "additionalProperties" in schema or "unevaluatedProperties" in schema
    patterns = frozenset(schema.get("patternProperties", {}))
    return Evaluated(frozenset(schema.get("properties", {})), patterns, is_all=is_all)


def _items(schema: dict[str, Any]) -> Evaluated | None:
    items = schema.get("items")
    prefix = items if isinstance(items, list) else schema.get("prefixItems", [])
    is_rest = "additionalItems" in schema if isinstance(items, list) else items is not None
    is_all = is_rest or "unevaluatedItems" in schema
    if "contains" in schema and not is_all:
        return None  # it evaluates what it finds, wherever that is
    return Evaluated(length=len(prefix), is_all=is_all)


class _Cases:
    """What a schema evaluates, in each case that its keywords leave open; None where that is not known, or too much."""

    def __init__(self, find: Find, own: Callable[[dict[str, Any]], Evaluated | None], may_narrow: bool) -> None:
        """`own`: what a schema's own keywords evaluate; None: that is not plain."""
        self.find = find
        self.own = own
        self.may_narrow = may_narrow

    def of(self, schema: Any, depth: int = 0) -> list[Case] | None:
        """The cases of a schema that holds."""
        if not isinstance(schema, dict):
            return [Case((), NOTHING)]
        if depth > MAX_DEPTH or "$dynamicRef" in schema or "$recursiveRef" in schema:
            return None
        own = self.own(schema)
        if own is None:
            return None
        found = [Case((), own)]
        for alternatives in self.alternatives(schema, depth):
            if alternatives is None:
                return None
            if all((case.evaluated | other.evaluated) == case.evaluated for case in found for other in alternatives):
                continue  # they make no difference
            if len(found) * len(alternatives) > MAX_CASES:
                return None
            found = [Case(a.guards + b.guards, a.evaluated | b.evaluated) for a in found for b in alternatives]
        return found

    def alternatives(self, schema: dict[str, Any], depth: int) -> Iterator[list[Case] | None]:
        """The cases of each keyword that applies other schemas."""
        for part in schema.get("allOf", []):
            yield self.of(part, depth + 1)
        if "$ref" in schema:
            yield self.of(self.find(schema["$ref"]), depth + 1)
        if "oneOf" in schema:
            yield _either([self.guarded([branch], depth) for branch in schema["oneOf"]])
        if "anyOf" in schema:
            yield self.sets([self.guarded([branch], depth) for branch in schema["anyOf"]])
        if "if" in schema:
            met = self.guarded([schema["if"], schema.get("then", True)], depth)
            yield _either([met, self.guarded([schema.get("else", True)], depth, {"not": schema["if"]})])
        for key in ("dependentSchemas", "dependencies") if self.own is _properties else ():  # they mean objects alone
            for name, inner in schema.get(key, {}).items():
                with_it = self.guarded([inner] if isinstance(inner, dict) else [], depth, {"required": [name]})
                yield _either([with_it, [Case(({"properties": {name: False}},), NOTHING)]])

    def guarded(self, schemas: list[Any], depth: int, *more: Any) -> list[Case] | None:
        """The cases in which all schemas hold, and `more` does, which evaluates nothing."""
        found = [Case(more, NOTHING)]
        for schema in schemas:
            inner = self.of(schema, depth + 1)
            if inner is None or len(found) * len(inner) > MAX_CASES:
                return None
            found = [Case((*a.guards, schema, *b.guards), a.evaluated | b.evaluated) for a in found for b in inner]
        return found

    def sets(self, branches: list[list[Case] | None]) -> list[Case] | None:
        """Every set of branches that may hold at once, none of them included: the node's own `anyOf` sees to that."""
        known = [branch for branch in branches if branch is not None]
        if len(known) < len(branches):
            return None
        known = [branch for branch in known if any(case.evaluated != NOTHING for case in branch)]
        is_short = 2 ** len(known) <= MAX_CASES
        if not is_short and not self.may_narrow:
            return None
        found: list[Case] = []
        for count in range((len(known) if is_short else 1) + 1):
            for chosen in combinations(known, count):
                cases = [Case((), NOTHING)]
                for branch in chosen:
                    cases = [Case(a.guards + b.guards, a.evaluated | b.evaluated) for a in cases for b in branch]
                found += cases
        return found


def _either(branches: list[list[Case] | None]) -> list[Case] | None:
    found: list[Case] = []
    for branch in branches:
        if branch is None:
            return None
        found += branch
    return found


def _closed_object(found: Evaluated, demand: Any) -> dict[str, Any]:
    closing: dict[str, Any] = {"properties": {name: True for name in sorted(found.names)}}
    if found.patterns:
        closing["patternProperties"] = {pattern: True for pattern in sorted(found.patterns)}
    return {**closing, "additionalProperties": demand}


def _closed_array(found: Evaluated, demand: Any) -> dict[str, Any]:
    return {**({"prefixItems": [True] * found.length} if found.length else {}), "items": demand}
