"""What a schema does not accept, as alternatives.

Works on schemas as written, keyword by keyword. A `None` answer means "not known": the caller refuses.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from .patterns import found_nowhere

Schema = dict[str, Any] | bool
Resolve = Callable[[Any], Any]
"""Follows a schema's `$ref` when that is all it has; returns others unchanged."""

TYPES = ("null", "boolean", "object", "array", "number", "string")  # integer is a part of number
_ALL, _NONE = frozenset(TYPES), frozenset[str]()
_ALONE = {name: frozenset([name]) for name in TYPES} | {"integer": frozenset(["number"])}
MAX_DEPTH = 12
FORMATS = frozenset(["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"])
"""Those that the engine enforces; others are annotations."""
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
        return _ALL
    found = _ALL
    if "type" in schema:
        names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        known = [_ALONE.get(name, _NONE) for name in names]
        found = known[0] if len(known) == 1 else _NONE.union(*known)
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
    if "integer" in named and not {"number"} & (named | known):  # what is a number there is an integer anyway
        return {**schema, "type": sorted(named - {"integer"} | {"number"})}
    return schema


def negate_keyword(key: str, value: Any) -> list[Schema] | None:
    """Schemas that together accept exactly what one keyword refuses; None if that cannot be said.

    For keywords that hold no schemas; those that do are `relative`'s.
    """
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
        case "not":
            return [value]
        case "pattern" if isinstance(value, str):
            tree = found_nowhere(value)
            return None if tree is None else [{"type": "string", "pattern": tree}]
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
        case "minProperties":
            return [{"type": "object", "maxProperties": value - 1}] if value > 0 else []
        case "maxProperties":
            return [{"type": "object", "minProperties": value + 1}]
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

    def __repr__(self) -> str:
        return f"OtherStrings{super().__repr__()}"


_CANONICAL = json.JSONEncoder(sort_keys=True, default=repr)


def canonical(value: Any) -> str:
    """A text that equal JSON values share (1 and 1.0 are equal); trees of patterns, which may stand for texts, too."""
    return _CANONICAL.encode(value if type(value) is str else _whole(value))


def _whole(value: Any) -> Any:
    if type(value) is str or type(value) is int:
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole(v) for v in value]
    if isinstance(value, OtherStrings):
        return repr(value)
    if isinstance(value, dict):
        return {k if isinstance(k, str) else repr(k): _whole(v) for k, v in value.items()}
    return value
