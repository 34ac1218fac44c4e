"""Branches of a `oneOf`: which of them may accept the same document.

What a branch says at a glance (its types, constants of its own and of its properties, what it requires and where it is
closed) tells most pairs apart; only the others are compared at length.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any, NamedTuple

from .complement import Resolve
from .disjoint import constants_of, disjoint, kinds_of

MAX_GLANCED = 300  # branches; their pairs are looked at one by one
MAX_COMPARED = 2000  # pairs that are compared at length
MAX_PARTS = 64  # of a branch that are read

_OBJECT = frozenset(["object"])


class _Glance(NamedTuple):
    """What a branch says plainly, by itself and by what holds with it."""

    kinds: frozenset[str]
    constants: set[str] | None
    """Those of which a document must be one; None: any."""
    required: frozenset[str]
    properties: dict[str, set[str]]
    """Constants of properties, where they are there."""
    closed: list[frozenset[str]]
    """Sets of names: a document has no others."""


def rivals_of(branches: list[Any], resolve: Resolve) -> dict[int, list[int]] | None:
    """For each branch those that may accept a document that it accepts; None: there are too many to compare."""
    if told_apart(branches):
        return {}
    if len(branches) > MAX_GLANCED:
        return None
    glances = [_glance(branch, resolve) for branch in branches]
    pairs = [(i, j) for i, j in combinations(range(len(branches)), 2) if not _are_apart(glances[i], glances[j])]
    if len(pairs) > MAX_COMPARED:
        return None
    rivals: dict[int, list[int]] = {}
    for i, j in pairs:
        if not disjoint(branches[i], branches[j], resolve):
            rivals.setdefault(i, []).append(j)
            rivals.setdefault(j, []).append(i)
    return rivals


def told_apart(branches: list[Any]) -> bool:
    """Whether a constant tells many branches apart at a glance: of theirs, or of a property that all require."""
    if not all(isinstance(branch, dict) for branch in branches):
        return False
    keys = [constants_of(branch) for branch in branches]
    if all(key is not None for key in keys):
        return _all_differ([key for key in keys if key is not None])
    if any(kinds_of(branch, _itself) != _OBJECT for branch in branches):
        return False
    first = branches[0].get("properties", {})
    for name in first if isinstance(first, dict) else []:
        found = []
        for branch in branches:
            properties, required = branch.get("properties"), branch.get("required")
            if not isinstance(properties, dict) or not isinstance(required, list) or name not in required:
                break
            constants = constants_of(properties.get(name))
            if constants is None:
                break
            found.append(constants)
        else:
            if _all_differ(found):
                return True
    return False


def _itself(schema: Any) -> Any:
    return schema


def _all_differ(sets: list[set[str]]) -> bool:
    return len(set().union(*sets)) == sum(map(len, sets))


def _glance(branch: Any, resolve: Resolve) -> _Glance:
    constants: set[str] | None = None
    required: set[str] = set()
    properties: dict[str, set[str]] = {}
    closed: list[frozenset[str]] = []
    waiting, seen = [branch], set[int]()
    while waiting and len(seen) < MAX_PARTS:
        part = resolve(waiting.pop())
        if not isinstance(part, dict) or id(part) in seen:
            continue
        seen.add(id(part))
        own = constants_of(part)
        if own is not None:
            constants = own if constants is None else constants & own
        listed = part.get("properties", {})
        required.update(part.get("required", ()))
        for name, schema in listed.items():
            found = constants_of(resolve(schema))
            if found is not None:
                properties[name] = properties[name] & found if name in properties else found
        if part.get("additionalProperties") is False and not part.get("patternProperties"):
            closed.append(frozenset(listed))
        waiting += part.get("allOf", ())
        waiting += [option for key in ("anyOf", "oneOf") if len(part.get(key, ())) == 1 for option in part[key]]
    return _Glance(kinds_of(branch, resolve), constants, frozenset(required), properties, closed)


def _are_apart(one: _Glance, other: _Glance) -> bool:
    shared = one.kinds & other.kinds
    if not shared:
        return True
    if one.constants is not None and other.constants is not None and not one.constants & other.constants:
        return True
    if shared != _OBJECT:
        return False
    if any(a.required - names for a, b in ((one, other), (other, one)) for names in b.closed):
        return True
    return any(
        not constants & other.properties[name]
        for name, constants in one.properties.items()
        if name in other.properties and (name in one.required or name in other.required)
    )
