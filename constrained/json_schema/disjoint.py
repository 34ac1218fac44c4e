"""Whether two schemas, as written, can accept the same document.

A "no" is certain; what is not known counts as yes.
"""

from __future__ import annotations

import json
from typing import Any

from .complement import ASSERTIONS, MAX_DEPTH, TYPES, Resolve, canonical, type_of, types_of
from .patterns import are_apart, is_found

MAX_KIND_DEPTH = 4
_APPLIED = frozenset(["allOf", "anyOf", "oneOf"])
PLAIN = frozenset(["pattern", "format", "multipleOf", "minimum", "maximum", "minLength", "maxLength", "minItems"])


def beside_node(branch: Any, node: dict[str, Any]) -> Any:
    """A branch with what the schema that holds it says plainly of the same document."""
    if not isinstance(branch, dict):
        return branch
    out = dict(branch)
    if "type" in node:
        out.setdefault("type", node["type"])
    if "required" in node:
        out["required"] = [*node["required"], *branch.get("required", [])]
    if "properties" in node:
        out["properties"] = {**node["properties"], **branch.get("properties", {})}
    if node.get("additionalProperties") is False and "patternProperties" not in node:
        out.setdefault("additionalProperties", False)
    return out


def disjoint(
    one: Any, other: Any, resolve: Resolve, depth: int = 0, among: frozenset[str] = frozenset(TYPES),
    asked: frozenset[tuple[int, int]] = frozenset(),
) -> bool:  # fmt: skip
    """Whether it is certain that no document of the types `among` satisfies both. asked: what leads to this question,
    which a circle of references asks again."""
    one, other = resolve(one), resolve(other)
    pair = (id(one), id(other))
    one, other = modern(one), modern(other)
    if one is False or other is False:
        return True
    if not isinstance(one, dict) or not isinstance(other, dict) or depth > MAX_DEPTH or pair in asked:
        return False
    shared = among & kinds_of(one, resolve) & kinds_of(other, resolve)
    if all(_disjoint_type(name, one, other, resolve, depth) for name in shared):
        return True
    asked |= {pair, pair[::-1]}
    for first, second in ((one, other), (other, one)):
        for inner in first.get("allOf", []) if isinstance(first.get("allOf"), list) else []:
            if disjoint(inner, second, resolve, depth + 1, shared, asked):
                return True
        if "not" in first and within(second, first["not"], resolve, depth + 1):
            return True
        for key in ("anyOf", "oneOf"):
            options = first.get(key)
            if isinstance(options, list) and options:
                merged = [{**{k: v for k, v in first.items() if k != key}, "allOf": [option]} for option in options]
                if all(disjoint(option, second, resolve, depth + 2, shared, asked) for option in merged):
                    return True
    return False


def kinds_of(schema: Any, resolve: Resolve, above: tuple[int, ...] = ()) -> frozenset[str]:
    """The types that a document of the schema may have, as far as can be seen. above: the schemas that hold it."""
    schema = resolve(schema)
    found = types_of(schema)
    if not isinstance(schema, dict) or not schema.keys() & _APPLIED:
        return found
    if len(above) > MAX_KIND_DEPTH or id(schema) in above:
        return found
    above = (*above, id(schema))
    for part in schema.get("allOf", []):
        found &= kinds_of(part, resolve, above)
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            found &= frozenset().union(*(kinds_of(option, resolve, above) for option in schema[key]))
    return found


def modern(schema: Any) -> Any:
    """The schema with a list of `items` under the name that it has today."""
    if not isinstance(schema, dict) or not isinstance(schema.get("items"), list):
        return schema
    rest = {key: value for key, value in schema.items() if key not in ("items", "additionalItems")}
    return {**rest, "prefixItems": schema["items"], "items": schema.get("additionalItems", True)}


def within(one: Any, other: Any, resolve: Resolve, depth: int = 0) -> bool:
    """Whether it is certain that every document of `one` satisfies `other`."""
    one, other = resolve(one), resolve(other)
    if one is False or other is True or other == {}:
        return True
    if not isinstance(one, dict) or not isinstance(other, dict) or depth > MAX_DEPTH:
        return False
    parts = one.get("allOf", [])
    if isinstance(parts, list) and any(within(part, other, resolve, depth + 1) for part in parts):
        return True
    return all(
        _implies(one, key, value, resolve, depth)
        for key, value in other.items()
        if key in ASSERTIONS and not (key in one and key in PLAIN and canonical(one[key]) == canonical(value))
    )


def _implies(one: dict[str, Any], key: str, value: Any, resolve: Resolve, depth: int) -> bool:
    match key:
        case "type" if "integer" not in value:
            return types_of(one) <= types_of({"type": value})
        case "enum" | "const":
            own, others = constants_of(one), constants_of({key: value})
            return own is not None and others is not None and own <= others
        case "required":
            return set(value) <= set(one.get("required", []))
        case "properties":
            listed = one.get("properties", {})
            return all(name in listed and within(listed[name], s, resolve, depth + 1) for name, s in value.items())
    return False


def constants_of(schema: Any) -> set[str] | None:
    """The values, as canonical texts, of which a document must be one; None: it need not."""
    if not isinstance(schema, dict):
        return None
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    return {canonical(value) for value in values} if isinstance(values, list) else None


def _disjoint_type(name: str, one: dict[str, Any], other: dict[str, Any], resolve: Resolve, depth: int) -> bool:
    first, second = _values(one, name), _values(other, name)
    if first is not None and second is not None:
        return not first & second
    if name == "number":
        return _apart(one, other, _lowest(one), _highest(one), _lowest(other), _highest(other))
    if name == "string":
        return _lengths_apart(one, other, "Length") or _patterns_apart(one, other, first, second)
    if name == "array":
        return _lengths_apart(one, other, "Items") or _items_apart(one, other, resolve, depth)
    if name == "object":
        return _objects_apart(one, other, resolve, depth) or _objects_apart(other, one, resolve, depth)
    return False


def _values(schema: dict[str, Any], name: str) -> set[str] | None:
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if not isinstance(values, list):
        return None
    return {canonical(value) for value in values if type_of(value) == name}


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


def _items_apart(one: dict[str, Any], other: dict[str, Any], resolve: Resolve, depth: int) -> bool:
    """Whether an item that both demand, or one does, differs."""
    first, second = one.get("prefixItems", []), other.get("prefixItems", [])
    least = max(one.get("minItems", 0), other.get("minItems", 0))
    for i in range(min(int(least), max(len(first), len(second)) + 1)):
        mine = first[i] if i < len(first) else one.get("items", True)
        theirs = second[i] if i < len(second) else other.get("items", True)
        if disjoint(mine, theirs, resolve, depth + 1):
            return True
    return False


def _patterns_apart(
    one: dict[str, Any], other: dict[str, Any], first: set[str] | None, second: set[str] | None
) -> bool:
    for values, schema in ((first, other), (second, one)):
        if values is not None and not any(_may_be(json.loads(value), schema) for value in values):
            return True
    if isinstance(one.get("pattern"), str) and isinstance(other.get("pattern"), str):
        return are_apart(one["pattern"], other["pattern"])
    return False


def _may_be(value: str, schema: dict[str, Any]) -> bool:
    """Whether the pattern and the lengths of a schema take a string."""
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", float("inf")):
        return False
    return not isinstance(schema.get("pattern"), str) or may_match(schema["pattern"], value)


def may_match(pattern: str, text: str) -> bool:
    """Whether the pattern is found in the text; True also where that cannot be said."""
    return is_found(pattern, text) is not False


def _objects_apart(one: dict[str, Any], other: dict[str, Any], resolve: Resolve, depth: int) -> bool:
    properties, others = one.get("properties", {}), other.get("properties", {})
    if not isinstance(properties, dict) or not isinstance(others, dict):
        return False
    required = one.get("required", [])
    for name in required if isinstance(required, list) else []:
        if name in others:
            if others[name] is False:
                return True
            if disjoint(properties.get(name, True), others[name], resolve, depth + 1):
                return True
        elif other.get("additionalProperties") is False and not _is_patterned(other, name):
            return True
    return False


def _is_patterned(schema: dict[str, Any], name: str) -> bool:
    patterns = schema.get("patternProperties") or {}
    return not isinstance(patterns, dict) or any(may_match(pattern, name) for pattern in patterns)
