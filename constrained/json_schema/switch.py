"""Conditions on one property's value, written as cases: `allOf` of many `if` … `then` that ask for the same constant.

Each condition by itself is two or more alternatives, and many of them multiply; as cases of one switch they add up.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .complement import TYPES, canonical, types_of


class Demand(NamedTuple):
    """A schema, and where it stands below `allOf`."""

    schema: Any
    steps: tuple[str, ...]


class _Condition(NamedTuple):
    place: int
    name: str
    values: tuple[Any, ...]
    is_met_without: bool
    """The condition holds where the property is missing."""
    is_met_by_others: bool
    """It holds for what is no object."""
    then: Any
    otherwise: Any


def switched(parts: list[Any]) -> tuple[dict[int, Any], list[list[list[Demand]]]]:
    """The parts that are no such conditions, by place; for each property that several ask for its cases.

    A case is what must hold together; one of a property's cases must.
    """
    found: dict[str, list[int]] = {}
    conditions: dict[int, _Condition] = {}
    for place, part in enumerate(parts):
        condition = _condition(place, part)
        if condition is not None:
            conditions[place] = condition
            found.setdefault(condition.name, []).append(place)
    taken = {place for places in found.values() if len(places) > 1 for place in places}
    rest = {place: part for place, part in enumerate(parts) if place not in taken}
    return rest, [_cases(name, [conditions[p] for p in places]) for name, places in found.items() if len(places) > 1]


def _condition(place: int, part: Any) -> _Condition | None:
    if not isinstance(part, dict) or not part.keys() <= {"if", "then", "else", "$comment", "description", "title"}:
        return None
    asked = part.get("if")
    if not isinstance(asked, dict) or not {"then", "else"} & part.keys():
        return None
    properties = asked.get("properties")
    if not asked.keys() <= {"properties", "required", "type"} or asked.get("type", "object") != "object":
        return None
    if not isinstance(properties, dict) or len(properties) != 1:
        return None
    ((name, value),) = properties.items()
    if not isinstance(value, dict) or len(value.keys() & {"const", "enum"}) != 1:
        return None
    if not value.keys() <= {"const", "enum", "type"} or types_of(value) != types_of({**value, "type": list(TYPES)}):
        return None
    if asked.get("required", [name]) != [name]:
        return None
    values = [value["const"]] if "const" in value else value["enum"]
    if not isinstance(values, list) or not all(isinstance(v, str | int | bool) for v in values):
        return None
    branches = part.get("then", True), part.get("else", True)
    return _Condition(place, name, tuple(values), "required" not in asked, "type" not in asked, *branches)


def _cases(name: str, conditions: list[_Condition]) -> list[list[Demand]]:
    """One case for the values that the same conditions ask for, one for all others, one without the property.

    And one for what is no object.
    """
    groups: dict[tuple[bool, ...], list[Any]] = {}
    spelled = [{canonical(v): v for v in condition.values} for condition in conditions]
    for key, value in {key: value for each in spelled for key, value in each.items()}.items():
        groups.setdefault(tuple(key in each for each in spelled), []).append(value)
    every = [value for values in groups.values() for value in values]

    def case(head: dict[str, Any], met: tuple[bool, ...]) -> list[Demand]:
        demands = [Demand(head, (str(conditions[0].place), "if"))]
        for condition, is_met in zip(conditions, met, strict=True):
            branch = condition.then if is_met else condition.otherwise
            demands.append(Demand(branch, (str(condition.place), "then" if is_met else "else")))
        return [demand for demand in demands if demand.schema is not True]

    objects = {"type": "object"}
    cases = [
        case({**objects, "properties": {name: {"enum": values}}, "required": [name]}, met)
        for met, values in groups.items()
    ]
    other = {**objects, "properties": {name: {"not": {"enum": every}}}, "required": [name]}
    cases.append(case(other, (False,) * len(conditions)))
    cases.append(case({**objects, "properties": {name: False}}, tuple(c.is_met_without for c in conditions)))
    cases.append(case({"type": [t for t in TYPES if t != "object"]}, tuple(c.is_met_by_others for c in conditions)))
    return cases
