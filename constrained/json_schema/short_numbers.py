"""Numbers that the engine takes with more digits only: of numbers up to 99.99 it takes 99.90, and not 99.9.

It compares digit by digit, and what is a part of a bound's digits seems to have no end; so with a `multipleOf` of some
decimal places. The short spellings are added as alternatives.
"""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

from .inside import BESIDE, with_inner

_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_OF_ONE_DIGIT = frozenset(["1", "2", "5"])
"""Of such multiples the engine takes every spelling."""


def with_short_numbers(schema: Any) -> Any:
    """The same documents, of a schema in the engine's words; what stands beside other schemas of its value stays."""
    if not isinstance(schema, dict):
        return schema
    out = with_inner(schema, with_short_numbers, ("properties", "patternProperties", "$defs"))
    kinds = schema.get("type")
    if "number" not in (kinds if isinstance(kinds, list) else [kinds]) or schema.keys() & (BESIDE | {"const", "enum"}):
        return out
    others = [{**schema, "multipleOf": step} for step in _coarser(schema.get("multipleOf"))]
    values = _prefixes(schema)
    return {"anyOf": [schema, *others, *([{"enum": values}] if values else [])]} if others or values else out


def _prefixes(schema: dict[str, Any]) -> list[float]:
    """The numbers that the schema takes that begin as a bound does, with some of its decimal places."""
    found: dict[float, None] = {}
    for key in _BOUNDS:
        whole, _, places = format(Decimal(repr(schema.get(key, 0))), "f").partition(".")
        for count in range(1, len(places)):
            value = float(f"{whole}.{places[:count]}")
            if not value.is_integer() and _fits(schema, Fraction(repr(value))):
                found[value] = None
    return list(found)


def _fits(schema: dict[str, Any], value: Fraction) -> bool:
    bounds = {key: Fraction(repr(schema[key])) for key in _BOUNDS if key in schema}
    return (
        value >= bounds.get("minimum", value)
        and value <= bounds.get("maximum", value)
        and ("exclusiveMinimum" not in bounds or value > bounds["exclusiveMinimum"])
        and ("exclusiveMaximum" not in bounds or value < bounds["exclusiveMaximum"])
        and ("multipleOf" not in schema or value % Fraction(repr(schema["multipleOf"])) == 0)
    )


def _coarser(step: float | None) -> list[float]:
    """Of what the multiples with fewer decimal places are multiples."""
    if step is None:
        return []
    digits, _, places = format(Decimal(repr(step)), "f").partition(".")
    if (digits + places).strip("0") in _OF_ONE_DIGIT:
        return []
    exact, found = Fraction(repr(step)), dict[float, None]()
    for count in range(len(places)):
        grid = Fraction(1, 10**count)
        shared = Fraction(math.lcm(exact.numerator, grid.numerator), math.gcd(exact.denominator, grid.denominator))
        if shared != exact:
            found[float(shared)] = None
    return list(found)
