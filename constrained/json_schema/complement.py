"""What a schema does not accept, as alternatives; and whether two schemas can accept the same document.

Both work on schemas as written. A `None` answer means "not known": the caller refuses, nothing is loosened.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from ...errors import GrammarError
from .patterns import are_disjoint, complement, search_tree

Schema = dict[str, Any] | bool
Resolve = Callable[[Any], Any]
"""Follows a schema's `$ref` when that is all it has; returns others unchanged."""

TYPES = ("null", "boolean", "object", "array", "number", "string")  # integer is a part of number
MAX_DEPTH = 12
ASSERTIONS = frozenset(
    [
        "type",
        "enum",
        "const",
        "properties",
        "required",
        "additionalProperties",
        "patternProperties",
        "propertyNames",
        "minProperties",
        "maxProperties",
        "dependentRequired",
        "dependentSchemas",
        "dependencies",
        "items",
        "prefixItems",
        "additionalItems",
        "contains",
        "minContains",
        "maxContains",
        "minItems",
        "maxItems",
        "uniqueItems",
        "unevaluatedItems",
        "unevaluatedProperties",
        "minLength",
        "maxLength",
        "pattern",
        "format",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "allOf",
        "anyOf",
        "oneOf",
        "not",
        "if",
        "then",
        "else",
        "$ref",
        "$dynamicRef",
        "$recursiveRef",
    ]
)
"""Every keyword that can refuse a document; all others are annotations."""


def types_of(schema: Any) -> frozenset[str]:
    """The types that the `type`, `const` and `enum` of a schema leave; number includes integer."""
    if schema is False:
        return frozenset()
    if not isinstance(schema, dict):
        return frozenset(TYPES)
    found = frozenset(TYPES)
    if "type" in schema:
        names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        found &= {"number" if name == "integer" else name for name in names}
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if isinstance(values, list):
        found &= {type_of(value) for value in values}
    return found


def type_of(value: Any) -> str:
    """The JSON type of a value; integers are numbers."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"


def without_known_type(schema: Any, context: Any, resolve: Resolve) -> Any:
    """`schema` without its `type` where `context` says as much: what is left is negated more often."""
    schema = resolve(schema)
    if not isinstance(schema, dict) or not isinstance(context, dict) or "type" not in schema or "type" not in context:
        return schema
    known, named = (set(t if isinstance(t, list) else [t]) for t in (context["type"], schema["type"]))
    if known <= named or (known <= named | {"integer"} and "number" in named):
        return {key: value for key, value in schema.items() if key != "type"}
    return schema


def negate(schema: Any, resolve: Resolve, depth: int = 0) -> list[Schema] | None:
    """Schemas that together accept exactly what `schema` does not; None if that cannot be said."""
    schema = resolve(schema)
    if isinstance(schema, bool):
        return [not schema]
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return None
    alternatives: list[Schema] = []
    for key, value in schema.items():
        if key not in ASSERTIONS:
            continue
        negated = _negate_keyword(key, value, schema, resolve, depth)
        if negated is None:
            return None
        alternatives += negated
    return alternatives


def _negate_keyword(key: str, value: Any, schema: dict[str, Any], resolve: Resolve, depth: int) -> list[Schema] | None:
    match key:
        case "type":
            names = set(value if isinstance(value, list) else [value])
            if "integer" in names and "number" not in names:
                return None
            others = [name for name in TYPES if name not in names]
            return [{"type": others}] if others else [False]
        case "const":
            return _not_values([value])
        case "enum" if isinstance(value, list):
            return _not_values(value)
        case "required" if isinstance(value, list):
            return [{"type": "object", "properties": {name: False}} for name in value]
        case "properties" if isinstance(value, dict):
            found: list[Schema] = []
            for name, inner in value.items():
                negated = negate(inner, resolve, depth + 1)
                if negated is None:
                    return None
                for option in negated:
                    if option is not False:
                        found.append({"type": "object", "properties": {name: option}, "required": [name]})
            return found
        case "not":
            return [value]
        case "anyOf" if isinstance(value, list):
            every: list[Any] = []
            for inner in value:
                negated = negate(inner, resolve, depth + 1)
                if negated is None:
                    return None
                every.append(negated[0] if len(negated) == 1 else {"anyOf": negated})
            return [{"allOf": every}]
        case "allOf" if isinstance(value, list):
            some: list[Schema] = []
            for inner in value:
                negated = negate(inner, resolve, depth + 1)
                if negated is None:
                    return None
                some += negated
            return some
        case "pattern" if isinstance(value, str):
            try:
                return [{"type": "string", "pattern": complement(search_tree(value))}]
            except GrammarError:
                return None
    return _negate_bound(key, value)


def _negate_bound(key: str, value: Any) -> list[Schema] | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    match key:
        case "minLength":
            return [{"type": "string", "maxLength": value - 1}] if value > 0 else []
        case "maxLength":
            return [{"type": "string", "minLength": value + 1}]
        case "minItems":
            return [{"type": "array", "maxItems": value - 1}] if value > 0 else []
        case "maxItems":
            return [{"type": "array", "minItems": value + 1}]
        case "minimum":
            return [{"type": "number", "exclusiveMaximum": value}]
        case "maximum":
            return [{"type": "number", "exclusiveMinimum": value}]
        case "exclusiveMinimum":
            return [{"type": "number", "maximum": value}]
        case "exclusiveMaximum":
            return [{"type": "number", "minimum": value}]
    return None


def _not_values(values: list[Any]) -> list[Schema] | None:
    """Everything but these values; numbers by the gaps between them, strings by a pattern."""
    kinds = {type_of(value) for value in values}
    if kinds & {"array", "object"}:
        return None
    found: list[Schema] = [{"type": [name for name in TYPES if name not in kinds]}]
    if "boolean" in kinds:
        found += [{"const": b} for b in (True, False) if not any(v is b for v in values)]
    if "number" in kinds:
        numbers = sorted({v for v in values if type_of(v) == "number"})
        found.append({"type": "number", "exclusiveMaximum": numbers[0]})
        for low, high in pairwise(numbers):
            found.append({"type": "number", "exclusiveMinimum": low, "exclusiveMaximum": high})
        found.append({"type": "number", "exclusiveMinimum": numbers[-1]})
    if "string" in kinds:
        found.append({"type": "string", "pattern": OtherStrings(tuple(v for v in values if isinstance(v, str)))})
    return found


class OtherStrings(tuple[str, ...]):
    """In place of a `pattern`: every string but these."""


def disjoint(one: Any, other: Any, resolve: Resolve, depth: int = 0) -> bool:
    """Whether it is certain that no document satisfies both."""
    one, other = resolve(one), resolve(other)
    if one is False or other is False:
        return True
    if not isinstance(one, dict) or not isinstance(other, dict) or depth > MAX_DEPTH:
        return False
    for first, second in ((one, other), (other, one)):
        for inner in first.get("allOf", []) if isinstance(first.get("allOf"), list) else []:
            if disjoint(inner, second, resolve, depth + 1):
                return True
        for key in ("anyOf", "oneOf"):
            options = first.get(key)
            if isinstance(options, list) and options:
                merged = [{**{k: v for k, v in first.items() if k != key}, "allOf": [option]} for option in options]
                if all(disjoint(option, second, resolve, depth + 2) for option in merged):
                    return True
    shared = types_of(one) & types_of(other)
    return all(_disjoint_type(name, one, other, resolve, depth) for name in shared)


def told_apart(branches: list[Any]) -> bool:
    """Whether a constant tells many branches apart at a glance: of theirs, or of a property that all require."""
    if not all(isinstance(branch, dict) for branch in branches):
        return False
    keys = [_constants(branch) for branch in branches]
    if all(key is not None for key in keys):
        return _all_differ([key for key in keys if key is not None])
    if any(types_of(branch) != {"object"} for branch in branches):
        return False
    first = branches[0].get("properties", {})
    for name in first if isinstance(first, dict) else []:
        found = []
        for branch in branches:
            properties, required = branch.get("properties"), branch.get("required")
            if not isinstance(properties, dict) or not isinstance(required, list) or name not in required:
                break
            constants = _constants(properties.get(name))
            if constants is None:
                break
            found.append(constants)
        else:
            if _all_differ(found):
                return True
    return False


def _constants(schema: Any) -> set[str] | None:
    if not isinstance(schema, dict):
        return None
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    return {canonical(value) for value in values} if isinstance(values, list) else None


def _all_differ(sets: list[set[str]]) -> bool:
    return len(set().union(*sets)) == sum(map(len, sets))


def _disjoint_type(name: str, one: dict[str, Any], other: dict[str, Any], resolve: Resolve, depth: int) -> bool:
    first, second = _values(one, name), _values(other, name)
    if first is not None and second is not None:
        return not first & second
    if name == "number":
        return _apart(one, other, _lowest(one), _highest(one), _lowest(other), _highest(other))
    if name == "string":
        return _lengths_apart(one, other, "Length") or _patterns_apart(one, other, first, second)
    if name == "array":
        return _lengths_apart(one, other, "Items")
    if name == "object":
        return _objects_apart(one, other, resolve, depth) or _objects_apart(other, one, resolve, depth)
    return False


def _values(schema: dict[str, Any], name: str) -> set[str] | None:
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if not isinstance(values, list):
        return None
    return {canonical(value) for value in values if type_of(value) == name}


def canonical(value: Any) -> str:
    """A text that equal JSON values share (1 and 1.0 are equal)."""
    return json.dumps(_whole(value), sort_keys=True)


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole(v) for v in value]
    return {k: _whole(v) for k, v in value.items()} if isinstance(value, dict) else value


def _lowest(schema: dict[str, Any]) -> tuple[float, bool]:
    bounds = [(schema[k], k != "minimum") for k in ("minimum", "exclusiveMinimum") if _number(schema.get(k))]
    return max(bounds, default=(float("-inf"), False))


def _highest(schema: dict[str, Any]) -> tuple[float, bool]:
    bounds = [(schema[k], k != "maximum") for k in ("maximum", "exclusiveMaximum") if _number(schema.get(k))]
    return min(bounds, key=lambda bound: (bound[0], not bound[1]), default=(float("inf"), False))


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _apart(
    one: dict[str, Any],
    other: dict[str, Any],
    low: tuple[float, bool],
    high: tuple[float, bool],
    other_low: tuple[float, bool],
    other_high: tuple[float, bool],
) -> bool:
    def below(top: tuple[float, bool], bottom: tuple[float, bool]) -> bool:
        return top[0] < bottom[0] or (top[0] == bottom[0] and (top[1] or bottom[1]))

    return below(high, other_low) or below(other_high, low)


def _lengths_apart(one: dict[str, Any], other: dict[str, Any], unit: str) -> bool:
    def is_above(a: dict[str, Any], b: dict[str, Any]) -> bool:
        low, high = a.get(f"min{unit}", 0), b.get(f"max{unit}", float("inf"))
        return _number(low) and _number(high) and bool(low > high)

    return is_above(one, other) or is_above(other, one)


def _patterns_apart(
    one: dict[str, Any], other: dict[str, Any], first: set[str] | None, second: set[str] | None
) -> bool:
    if isinstance(one.get("pattern"), str) and isinstance(other.get("pattern"), str):
        try:
            return are_disjoint(search_tree(one["pattern"]), search_tree(other["pattern"]))
        except GrammarError:
            return False
    return False


def _objects_apart(one: dict[str, Any], other: dict[str, Any], resolve: Resolve, depth: int) -> bool:
    properties, others = one.get("properties", {}), other.get("properties", {})
    if not isinstance(properties, dict) or not isinstance(others, dict):
        return False
    required = one.get("required", [])
    for name in required if isinstance(required, list) else []:
        if name in others:
            if others[name] is False:
                return True
            if name in (other.get("required") or []) and disjoint(
                properties.get(name, True), others[name], resolve, depth + 1
            ):
                return True
        elif other.get("additionalProperties") is False and not other.get("patternProperties"):
            return True
    return False
