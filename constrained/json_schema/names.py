"""Property names by pattern: `patternProperties` that overlap and `propertyNames`, as patterns that are apart."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from itertools import product
from typing import Any

from ...errors import GrammarError, UnsupportedGrammar
from ..fsm.pattern import ANY, END, NOTHING, Alt, Look, Node, Repeat, Seq
from .complement import ASSERTIONS, FORMATS, Resolve
from .patterns import REMEMBERED, are_apart, engine_pattern, flatten, matcher_of, search_tree
from .refusal import no_object, unsupported
from .strings import ANYTHING, listed, literal

MAX_OVERLAPPING = 4
MAX_LISTED_NAMES = 64  # of patterns that are written out
MAX_DEPTH = 8
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_NAME_FORMATS = {
    "date": r"^(?!0000)(?:\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|"
    r"02-(?:0[1-9]|1\d|2[0-8]))|(?:\d\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)$",
    "ipv4": rf"^{_OCTET}(?:\.{_OCTET}){{3}}$",
    "uuid": r"^[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
}
"""Formats that are small as patterns; the engine knows none of names."""


def both(positive: list[Node], negative: list[Node]) -> Node:
    """Strings that match all of `positive` and none of `negative`; else NOTHING. Raises GrammarTooLarge."""
    if len(positive) == 1 and not negative:
        return positive[0]
    looks = [Look(Seq((tree, END)), behind=False, negate=False) for tree in positive]
    looks += [Look(Seq((tree, END)), behind=False, negate=True) for tree in negative]
    return flatten(Seq((*looks, ANYTHING)))


def apart(patterns: dict[str, Any], pointer: str) -> dict[str, Any]:
    """`patternProperties` whose patterns are disjoint and in the engine's words; same meaning."""
    try:
        regions = _regions(tuple(patterns))
    except GrammarError as error:
        raise unsupported(error.message, "patternProperties", f"{pointer}/patternProperties") from None
    return {engine_pattern(region): _all_of(patterns, inside) for region, inside in regions}


def _all_of(patterns: dict[str, Any], texts: tuple[str, ...]) -> Any:
    """What is said of names that the patterns `texts` match."""
    return patterns[texts[0]] if len(texts) == 1 else {"allOf": [patterns[text] for text in texts]}


@lru_cache(maxsize=REMEMBERED)
def _regions(patterns: tuple[str, ...]) -> tuple[tuple[Node, tuple[str, ...]], ...]:
    """Sets of names that are disjoint, and of each those of `patterns` that match its names."""
    trees = {text: _tree(text) for text in patterns}
    groups: list[list[str]] = []
    for text in patterns:
        touching = [g for g in groups if any(not are_apart(text, other) for other in g)]
        groups = [g for g in groups if g not in touching] + [[text, *(t for g in touching for t in g)]]
    result: list[tuple[Node, tuple[str, ...]]] = []
    for group in groups:
        if len(group) == 1:
            result.append((trees[group[0]], (group[0],)))
            continue
        if len(group) > MAX_OVERLAPPING:
            raise UnsupportedGrammar("too many patternProperties overlap; make them disjoint")
        for taken in product((True, False), repeat=len(group)):
            inside = tuple(text for text, is_in in zip(group, taken, strict=True) if is_in)
            if not inside:
                continue
            try:
                region = both([trees[t] for t in inside], [trees[t] for t in group if t not in inside])
            except GrammarError:
                message = f"the patterns {group} overlap and are too large to take apart; make them disjoint"
                raise UnsupportedGrammar(message) from None
            if region != NOTHING:
                result.append((region, inside))
    return tuple(result)


def with_listed_names(node: dict[str, Any]) -> dict[str, Any]:
    """The node with patterns that match a few names under `properties`, of which the engine knows what is written."""
    patterns, properties = dict(node["patternProperties"]), dict(node.get("properties", {}))
    for text, schema in node["patternProperties"].items():
        names = _few_names(text) if isinstance(text, str) else None
        if names is not None and len(properties) + len(names) <= MAX_LISTED_NAMES:
            del patterns[text]
            properties |= {n: {"allOf": [properties[n], schema]} if n in properties else schema for n in names}
    if len(patterns) == len(node["patternProperties"]):
        return node
    rest = {key: value for key, value in node.items() if key != "patternProperties"}
    return {**rest, "properties": properties, **({"patternProperties": patterns} if patterns else {})}


@lru_cache(maxsize=REMEMBERED)
def _few_names(text: str) -> tuple[str, ...] | None:
    try:
        names = listed(search_tree(text))
    except GrammarError:
        return None
    return None if names is None else tuple(dict.fromkeys(names))


def _tree(text: str) -> Node:
    try:
        return search_tree(text)
    except GrammarError as error:
        raise UnsupportedGrammar(f"the pattern {text!r} is not served: {error.message}") from None


def property_names(node: dict[str, Any], pointer: str, resolve: Resolve) -> dict[str, Any]:
    """The node without `propertyNames`: names that it refuses are refused by `properties` and `patternProperties`."""
    where = f"{pointer}/propertyNames"
    allowed = _names_tree(resolve(node["propertyNames"]), where, resolve)
    result = {key: value for key, value in node.items() if key != "propertyNames"}
    if allowed is None:
        return result
    properties = result.get("properties", {})
    patterns = result.get("patternProperties", {})
    additional = result.get("additionalProperties", result.pop("unevaluatedProperties", True))
    try:
        regions = _regions(tuple(patterns))
        trees = [search_tree(text) for text in patterns]
        names = _listed_names(resolve(node["propertyNames"]))
        required = result.get("required", [])
        is_allowed = _judge(allowed, names) if properties or required else None
        if is_allowed is not None:
            result["properties"] = {n: s if is_allowed(n) else False for n, s in properties.items()}
        for name in required:
            if is_allowed is not None and not is_allowed(name):
                why = no_object(f"propertyNames refuses the required {name!r}", "propertyNames", where)
                return {"allOf": [{k: v for k, v in node.items() if k != "propertyNames"}, why]}
        narrowed: dict[Any, Any] = {}
        for region, inside in regions:
            narrowed[both([region, allowed], [])] = _all_of(patterns, inside)
        if additional is not False and names is not None and not trees:
            free = {name: additional for name in names if name not in properties}
            result["properties"] = {**result.get("properties", {}), **free}
        elif additional is not False:
            says_more = properties and additional is not True and additional != {}
            listed = [Alt(tuple(map(literal, properties)))] if says_more else []
            narrowed[both([allowed], [*trees, *listed])] = additional
        result["patternProperties"] = {tree: schema for tree, schema in narrowed.items() if tree != NOTHING}
    except GrammarError as error:
        if getattr(error, "keyword", None) == "propertyNames":
            raise
        raise unsupported(f"propertyNames is not served here: {error.message}", "propertyNames", where) from None
    result["additionalProperties"] = False
    return result


def _judge(allowed: Node, names: list[str] | None) -> Callable[[str], bool]:
    """Whether a name is one of `allowed`, of which `names` are all if they are known. Raises GrammarTooLarge."""
    if names is not None:
        return set(names).__contains__
    if isinstance(allowed, Repeat) and allowed.node == ANY:
        most = sys.maxsize if allowed.high is None else allowed.high
        return lambda name: allowed.low <= len(name) <= most
    return matcher_of(allowed)


def _listed_names(schema: Any) -> list[str] | None:
    """The names that a `propertyNames` schema lists, if it does nothing else."""
    if not isinstance(schema, dict) or (schema.keys() & ASSERTIONS) - {"type"} not in ({"const"}, {"enum"}):
        return None
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    return [name for name in values if isinstance(name, str)] if isinstance(values, list) else None


def _names_tree(schema: Any, pointer: str, resolve: Resolve, depth: int = 0) -> Node | None:
    """The names that a `propertyNames` schema takes; None: all."""
    if schema is False:
        return Alt(())
    if not isinstance(schema, dict):
        return None
    if depth > MAX_DEPTH:
        raise unsupported("propertyNames is nested too deeply", "propertyNames", pointer)

    def inner_tree(inner: Any, *steps: str) -> Node | None:
        return _names_tree(resolve(inner), "/".join([pointer, *steps]), resolve, depth + 1)

    parts: list[Node] = []
    refused: list[Node] = []
    for key, value in schema.items():
        if key == "pattern" and isinstance(value, str):
            parts.append(search_tree(value))
        elif key in ("minLength", "maxLength"):
            low, high = int(schema.get("minLength", 0)), schema.get("maxLength")
            parts.append(Alt(()) if high is not None and low > high else Repeat(ANY, low, high))
        elif key in ("enum", "const"):
            values = [value] if key == "const" else value
            parts.append(Alt(tuple(literal(v) for v in values if isinstance(v, str))))
        elif key == "format" and value in _NAME_FORMATS:
            parts.append(search_tree(_NAME_FORMATS[value]))
        elif (key == "type" and "string" in ([value] if isinstance(value, str) else value)) or (
            key == "format" and value not in FORMATS
        ):
            continue
        elif key == "allOf" and isinstance(value, list):
            every = [inner_tree(inner, key, str(i)) for i, inner in enumerate(value)]
            parts += [tree for tree in every if tree is not None]
        elif key == "anyOf" and isinstance(value, list):
            some = [inner_tree(inner, key, str(i)) for i, inner in enumerate(value)]
            known = [tree for tree in some if tree is not None]
            if len(known) == len(some):
                parts.append(Alt(tuple(known)))
        elif key == "not":
            tree = inner_tree(value, key)
            refused.append(ANYTHING if tree is None else tree)
        elif key in ASSERTIONS:
            raise unsupported(f"{key} is not served inside propertyNames; use pattern or enum", key, f"{pointer}/{key}")
    if not refused and len(parts) < 2:
        return parts[0] if parts else None
    return both(parts, refused)
