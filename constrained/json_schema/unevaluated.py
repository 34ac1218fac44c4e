"""`unevaluatedProperties` beside other keywords, written as `additionalProperties` over all that they evaluate.

Which properties are evaluated must be plain from the schema: by itself, by `allOf` and `$ref`, and in each case that
`anyOf`, `oneOf`, `if` and `dependentSchemas` leave open; every case then closes the object for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any, NamedTuple

Find = Callable[[str], Any]
"""The schema to which a reference leads."""

MAX_DEPTH = 32
MAX_CASES = 40
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


class Case(NamedTuple):
    """Schemas that hold, and what they evaluate."""

    guards: tuple[Any, ...]
    evaluated: Evaluated


def closed(node: dict[str, Any], find: Find, *, may_narrow: bool = False) -> dict[str, Any] | None:
    """The node without `unevaluatedProperties`, its meaning kept; None where that is not plain.

    `may_narrow`: of many alternatives of `anyOf` only one at a time need count as holding.
    """
    rest = {key: value for key, value in node.items() if key != "unevaluatedProperties"}
    if "additionalProperties" in node:
        return rest
    demand = node["unevaluatedProperties"]
    base = evaluated({key: value for key, value in rest.items() if key not in DYNAMIC}, find)
    if base is None:
        return None
    cases = [Case((), base)]
    for alternatives in _alternatives(rest, base, find, may_narrow):
        if alternatives is None or len(cases) * len(alternatives) > MAX_CASES:
            return None
        cases = [Case(a.guards + b.guards, a.evaluated | b.evaluated) for a in cases for b in alternatives]
    options: list[Any] = [{"allOf": [*case.guards, _closing(case.evaluated, demand)]} for case in cases]
    beside = options[0]["allOf"] if len(options) == 1 else [{"anyOf": options}]
    return {**rest, "allOf": [*rest.get("allOf", []), *beside]}


def _alternatives(node: dict[str, Any], base: Evaluated, find: Find, may_narrow: bool) -> Iterator[list[Case] | None]:
    """The cases of each keyword that evaluates now this, now that; None: they are not known, or too many."""
    if "anyOf" in node:
        branches = _cases(node["anyOf"], find)
        yield None if branches is None else _sets([b for b in branches if (base | b.evaluated) != base], may_narrow)
    if "oneOf" in node:
        yield _cases(node["oneOf"], find)
    if "if" in node:
        met = _together([node["if"], node.get("then", True)], find)
        otherwise = _together([node.get("else", True)], find)
        if met is None or otherwise is None:
            yield None
        elif (base | met.evaluated | otherwise.evaluated) != base:
            yield [met, Case(({"not": node["if"]}, *otherwise.guards), otherwise.evaluated)]
    for key in ("dependentSchemas", "dependencies"):
        for name, schema in node.get(key, {}).items():
            own = evaluated(schema, find)
            if own is None:
                yield None
            elif (base | own) != base:
                without = {"properties": {name: False}}
                yield [Case(({"required": [name]}, schema), own), Case((without,), NOTHING)]


def _cases(schemas: list[Any], find: Find) -> list[Case] | None:
    found = [_together([schema], find) for schema in schemas]
    known = [case for case in found if case is not None]
    return known if len(known) == len(found) else None


def _together(schemas: list[Any], find: Find) -> Case | None:
    whole = NOTHING
    for schema in schemas:
        own = evaluated(schema, find)
        if own is None:
            return None
        whole |= own
    return Case(tuple(schemas), whole)


def _sets(branches: list[Case], may_narrow: bool) -> list[Case] | None:
    """Every set of branches that may hold at once, none of them included."""
    if 2 ** len(branches) > MAX_CASES and not may_narrow:
        return None
    most = len(branches) if 2 ** len(branches) <= MAX_CASES else 1
    found = []
    for count in range(most + 1):
        for chosen in combinations(branches, count):
            guards = tuple(guard for case in chosen for guard in case.guards)
            whole = NOTHING
            for case in chosen:
                whole |= case.evaluated
            found.append(Case(guards, whole))
    return found


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
