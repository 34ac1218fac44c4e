"""Whether any document fits a normalised schema: contradictory bounds, and recursion that must never end."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from .complement import TYPES, types_of
from .refusal import WHY, unsatisfiable

MAX_ROUNDS = 64


class _Cause(Exception):
    def __init__(self, message: str, keyword: str | None, pointer: str) -> None:
        super().__init__(message)
        self.message, self.keyword, self.pointer = message, keyword, pointer


def check_productive(root: Any, definitions: dict[str, Any], origins: dict[str, str]) -> set[str]:
    """The definitions that some document fits. Raises UnsatisfiableGrammar, with its place, if none fits `root`.

    `origins`: where each definition stood in the schema as written. Answers "fits" where it cannot tell.
    """
    productive: set[str] = set()
    for _ in range(MAX_ROUNDS):
        grown = set(productive)
        for name, schema in definitions.items():
            if name not in grown and _why_empty(schema, origins[name], grown) is None:
                grown.add(name)
        if grown == productive:
            break
        productive = grown
    else:
        productive = set(definitions)
    cause = _why_empty(root, "#", productive)
    if cause is not None:
        raise unsatisfiable(f"nothing can satisfy this schema: {cause.message}", cause.keyword, cause.pointer)
    return productive


def prune(schema: Any, productive: set[str]) -> Any:
    """The same documents, without references to what nothing fits: the engine would begin and never end them."""
    if not isinstance(schema, dict):
        return schema
    if str(schema.get("$ref", "")).removeprefix("#/$defs/") not in productive and "$ref" in schema:
        return False
    pruned: dict[str, Any] = {}
    for key, value in schema.items():
        if key in ("properties", "patternProperties"):
            pruned[key] = {name: prune(inner, productive) for name, inner in value.items()}
        elif key in ("additionalProperties", "items"):
            pruned[key] = prune(value, productive)
        elif key == "prefixItems":
            pruned[key] = [prune(inner, productive) for inner in value]
        elif key == "allOf":
            pruned[key] = [prune(inner, productive) for inner in value]
            if False in pruned[key]:
                return False
        elif key == "anyOf":
            options = [option for inner in value if (option := prune(inner, productive)) is not False]
            if not options:
                return False
            pruned[key] = options
        else:
            pruned[key] = value
    return pruned


def _why_empty(schema: Any, pointer: str, productive: set[str]) -> _Cause | None:
    """Why nothing fits, or None. `productive`: definitions that something is known to fit."""
    if isinstance(schema, bool):
        return None if schema else _Cause("false allows nothing", None, pointer)
    name = str(schema.get("$ref", "")).removeprefix("#/$defs/")
    if name and name not in productive:
        return _Cause("the reference leads round in a circle that never ends", "$ref", f"{pointer}/$ref")
    for i, part in enumerate(schema.get("allOf", [])):
        cause = _why_empty(
            part, pointer if isinstance(part, dict) and "$ref" in part else f"{pointer}/allOf/{i}", productive
        )
        if cause is not None:
            return cause
    shared = types_of(schema)
    for part in schema.get("allOf", []):
        shared &= types_of(part)
    if not shared:
        parts = [part for part in [schema, *schema.get("allOf", [])] if isinstance(part, dict)]
        why = next((part[WHY] for part in parts if WHY in part), None)
        return _Cause(*why) if why else _Cause("its types exclude each other", "type", f"{pointer}/type")
    if "anyOf" in schema:
        causes = [_why_empty(option, f"{pointer}/anyOf/{i}", productive) for i, option in enumerate(schema["anyOf"])]
        if all(cause is not None for cause in causes):
            return causes[0]
    first: _Cause | None = None
    kinds = types_of(schema)
    for kind in TYPES:
        if kind in kinds:
            cause = _TYPE_CHECKS[kind](schema, pointer, productive) if kind in _TYPE_CHECKS else None
            if cause is None:
                return None
            first = first or cause
    return first or _Cause("its type allows none of its values", "type", f"{pointer}/type")


def _string(schema: dict[str, Any], pointer: str, productive: set[str]) -> _Cause | None:
    if schema.get("minLength", 0) > schema.get("maxLength", math.inf):
        message = f"minLength {schema['minLength']} is above maxLength {schema['maxLength']}"
        return _Cause(message, "minLength", f"{pointer}/minLength")
    return None


def _number(schema: dict[str, Any], pointer: str, productive: set[str]) -> _Cause | None:
    if "enum" in schema or "const" in schema:
        return None
    low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    low_open, high_open = schema.get("exclusiveMinimum", -math.inf), schema.get("exclusiveMaximum", math.inf)
    keyword = "minimum" if low >= low_open else "exclusiveMinimum"
    bottom, top = max(low, low_open), min(high, high_open)
    is_open = low_open >= low or high_open <= high
    names = schema.get("type", [])
    only_integers = "integer" in ([names] if isinstance(names, str) else names) and "number" not in names
    if only_integers and bottom != -math.inf and top != math.inf:
        first = math.floor(low_open) + 1 if low_open >= low else math.ceil(low)
        last = math.ceil(high_open) - 1 if high_open <= high else math.floor(high)
        is_empty = first > last
    else:
        is_empty = bottom > top or (bottom == top and is_open and bottom in (low_open, high_open))
    if is_empty:
        return _Cause(f"no number is at least {bottom} and at most {top}", keyword, f"{pointer}/{keyword}")
    step = schema.get("multipleOf")
    if step is not None and bottom != -math.inf and top != math.inf:
        exact = Fraction(str(step))
        multiple = math.ceil(Fraction(str(bottom)) / exact) * exact
        left_out = [Fraction(str(bound)) for bound in (low_open, high_open) if abs(bound) != math.inf]
        multiple += exact if multiple in left_out else 0
        if multiple > Fraction(str(top)) or multiple in left_out:
            message = f"no multiple of {step} is at least {bottom} and at most {top}"
            return _Cause(message, "multipleOf", f"{pointer}/multipleOf")
    return None


def _array(schema: dict[str, Any], pointer: str, productive: set[str]) -> _Cause | None:
    least, most = schema.get("minItems", 0), schema.get("maxItems", math.inf)
    if least > most:
        return _Cause(f"minItems {least} is above maxItems {most}", "minItems", f"{pointer}/minItems")
    prefix = schema.get("prefixItems", [])
    for i, item in enumerate(prefix[:least]):
        cause = _why_empty(item, f"{pointer}/prefixItems/{i}", productive)
        if cause is not None:
            return cause
    if least > len(prefix) and "items" in schema:
        return _why_empty(schema["items"], f"{pointer}/items", productive)
    return None


def _object(schema: dict[str, Any], pointer: str, productive: set[str]) -> _Cause | None:
    properties = schema.get("properties", {})
    for name in schema.get("required", []):
        if name in properties:
            cause = _why_empty(properties[name], f"{pointer}/properties/{name}", productive)
            if cause is not None:
                return cause
        elif schema.get("additionalProperties") is False and not schema.get("patternProperties"):
            return _Cause(
                f"{name!r} is required, but additionalProperties forbids it", "required", f"{pointer}/required"
            )
    return None


_TYPE_CHECKS = {"string": _string, "number": _number, "array": _array, "object": _object}
