"""Keywords that count: properties of an object, items of an array. Written out where that is short, else marked."""

from __future__ import annotations

import math
from itertools import combinations, permutations
from typing import Any

from .marks import CONTAINS, LEAST, UNIQUE
from .names_left import counted
from .refusal import no_array, no_object, unsupported
from .roomy import written_tree

MAX_ALTERNATIVES = 400
MAX_COUNTED = 4096
MAX_ORDERS = 40  # of listed values; more are checked while they are written


def property_counts(node: dict[str, Any], out: dict[str, Any], pointer: str) -> list[Any]:
    """Schemas to be satisfied beside `out` so that min/maxProperties of `node` hold; sets them in `out` where the
    engine takes them. Raises UnsupportedGrammar where neither is exact.
    """
    low = int(node.get("minProperties", 0))
    high = int(node["maxProperties"]) if "maxProperties" in node else None
    if high is not None and low > high:
        message = f"minProperties {low} is above maxProperties {high}"
        return [no_object(message, "minProperties", f"{pointer}/minProperties")]
    listed = [name for name, schema in out.get("properties", {}).items() if schema is not False]
    required = [name for name in dict.fromkeys(out.get("required", []))]
    optional = [name for name in listed if name not in required]
    is_closed = out.get("additionalProperties") is False and not out.get("patternProperties")
    low = max(0, low - len(required))  # of what is not required anyway
    if high is not None:
        high -= len(required)
        if high < 0:
            message = "more properties are required than maxProperties allows"
            return [no_object(message, "maxProperties", f"{pointer}/maxProperties")]
    if is_closed:
        if high is None and low <= len(optional) and math.comb(len(optional), low) > MAX_ALTERNATIVES:
            _mark_least(node, out, pointer)
            return []
        return _closed_counts(optional, low, high, pointer)
    if low >= 2:  # equal free keys count once
        _mark_least(node, out, pointer)
        low = 1
    if high is not None and optional:
        return _open_counts(optional, low, high, len(required), pointer)
    if high is not None:
        out["maxProperties"] = len(required) + high
    if low and not optional:
        out["minProperties"] = len(required) + low
    elif low:
        none_listed = {
            "properties": dict.fromkeys(optional, False),
            "required": required,
            "minProperties": len(required) + 1,
        }
        return [{"anyOf": [*({"required": [name]} for name in optional), none_listed]}]
    return []


def _mark_least(node: dict[str, Any], out: dict[str, Any], pointer: str) -> None:
    out[LEAST] = {"least": int(node["minProperties"]), "pointer": f"{pointer}/minProperties"}


def _open_counts(optional: list[str], low: int, high: int, num_required: int, pointer: str) -> list[Any]:
    """At most `high` of the listed properties and of free ones: each set of listed ones, with room for the rest."""
    most = min(high, len(optional))
    _bound(sum(math.comb(len(optional), n) for n in range(most + 1)), "maxProperties", pointer)
    exact: list[Any] = []
    for count in range(most + 1):
        for chosen in combinations(optional, count):
            rest = {name: False for name in optional if name not in chosen}
            bounds = {"maxProperties": num_required + high}
            if count < low:
                bounds["minProperties"] = num_required + low
            exact.append({"required": list(chosen), "properties": rest, **bounds})
    return [{"anyOf": exact}]


def _closed_counts(optional: list[str], low: int, high: int | None, pointer: str) -> list[Any]:
    if high is not None and high >= len(optional):
        high = None
    if low > len(optional):
        message = "there are fewer properties than minProperties demands"
        return [no_object(message, "minProperties", f"{pointer}/minProperties")]
    if low == 0 and high is None:
        return []
    if high is None:
        return [{"anyOf": [{"required": list(chosen)} for chosen in combinations(optional, low)]}]
    _bound(sum(math.comb(len(optional), n) for n in range(low, high + 1)), "maxProperties", pointer)
    exact = []
    for count in range(low, high + 1):
        for chosen in combinations(optional, count):
            rest = {name: False for name in optional if name not in chosen}
            exact.append({"required": list(chosen), "properties": rest})
    return [{"anyOf": exact}]


def contained(node: dict[str, Any], out: dict[str, Any], schema: Any, pointer: str, *, knows_bounds: bool) -> None:
    """Sets `contains` of `node` in `out`; `schema`: its own, normalised. Drafts before 2019-09 know no bounds of it."""
    least = int(node.get("minContains", 1)) if knows_bounds else 1
    most = int(node["maxContains"]) if knows_bounds and "maxContains" in node else None
    if schema is True and most is not None:  # every item does
        out["maxItems"] = min(most, out.get("maxItems", most))
    elif schema is not True and (least or most is not None):
        out[CONTAINS] = {"schema": schema, "least": least, "most": most, "pointer": f"{pointer}/contains"}
    if least:
        out["minItems"] = max(least, out.get("minItems", 0))


def unique_items(node: dict[str, Any], out: dict[str, Any], pointer: str) -> list[Any]:
    """As `property_counts`, for uniqueItems: written out for a few listed values, else marked UNIQUE in `out`, for what
    checks items while they are written.
    """
    most = out.get("maxItems")
    if most is not None and most <= 1:
        return []
    values = _listed(out)
    if values is None:
        out[UNIQUE] = {"pointer": f"{pointer}/uniqueItems"}
        count = None if out.get("prefixItems") else _num_values(out.get("items"))
        if count is not None:
            if count < out.get("minItems", 0):
                return [_too_few(pointer)]
            out["maxItems"] = count if most is None else min(most, count)
        return []
    low, high = out.get("minItems", 0), min(len(values), len(values) if most is None else most)
    if len(values) < low:
        return [_too_few(pointer)]
    if sum(math.perm(len(values), n) for n in range(low, high + 1)) > MAX_ORDERS:
        out[UNIQUE] = {"pointer": f"{pointer}/uniqueItems"}
        out["maxItems"] = high
        return []
    orders = [order for count in range(low, high + 1) for order in permutations(values, count)]
    return [
        {
            "anyOf": [
                {
                    "type": "array",
                    "prefixItems": [{"const": v} for v in order],
                    "minItems": len(order),
                    "maxItems": len(order),
                }
                for order in orders
            ]
            + [{"type": ["null", "boolean", "object", "number", "string"]}]
        }
    ]


def _too_few(pointer: str) -> dict[str, Any]:
    return no_array("there are fewer values than minItems demands", "minItems", f"{pointer}/minItems")


def _num_values(items: Any) -> int | None:
    """How many values a schema has at most, where its type or pattern makes them few."""
    if not isinstance(items, dict) or "type" not in items:
        return None
    total = 0
    for name in items["type"] if isinstance(items["type"], list) else [items["type"]]:
        if name == "integer" and {"minimum", "maximum"} <= items.keys():
            total += max(0, math.floor(items["maximum"]) - math.ceil(items["minimum"]) + 1)
        elif name in ("null", "boolean"):
            total += 1 if name == "null" else 2
        elif name == "string" and items.get("maxLength") == 0:
            total += 1
        elif name == "string" and (strings := _num_strings(items.get("pattern"))) is not None:
            total += strings
        else:
            return None
    return total if total <= MAX_COUNTED else None


def _num_strings(pattern: str | None) -> int | None:
    """How many strings a pattern matches, where they are few."""
    if pattern is None or written_tree(pattern) is None:
        return None
    found = counted((pattern,))
    return int(found[1][1]) if found is not None and found[1][1] <= MAX_COUNTED else None


def _listed(out: dict[str, Any]) -> list[Any] | None:
    """The values that the items may have, where they are listed."""
    items = out.get("items")
    if not isinstance(items, dict) or out.get("prefixItems"):
        return None
    if isinstance(items.get("enum"), list) and set(items) <= {"enum", "type"}:
        listed: list[Any] = items["enum"]
        return listed
    if "const" in items:
        return [items["const"]]
    return [True, False] if items.get("type") == "boolean" else None


def _bound(num_alternatives: int, keyword: str, pointer: str) -> None:
    if num_alternatives > MAX_ALTERNATIVES:
        raise unsupported(
            f"{keyword} would need {num_alternatives} alternatives; at most {MAX_ALTERNATIVES} are written out",
            keyword,
            f"{pointer}/{keyword}",
        )
