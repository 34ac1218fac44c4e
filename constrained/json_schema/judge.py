"""Whether a document that grows may still satisfy a normalised schema, its marks included.

Says no only where no way on is left, looking at values that ended; what is not written yet counts as what is wanted.
A whole document is judged exactly, but for `format`, which some validators enforce and others do not: where a schema
must be refused, it counts as satisfied, so that the answer is right for all of them.
"""

from __future__ import annotations

import json
import math
import re
from fractions import Fraction
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

import llguidance
import regex

from .complement import canonical
from .cursor import Value
from .inside import inner_schemas
from .marks import BOUNDS, CONTAINS, HOLDS, LEAST, MARKS, REFUSES, UNIQUE, Places, first_mark

PATTERN_TIMEOUT_S = 0.05


class SchemaJudge:
    """One normalised schema."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._root = schema
        self._definitions: dict[str, Any] = schema.get("$defs", {})
        self._marked: dict[int, bool] = {}

    def may_become_valid(self, root: Value) -> bool:
        """Whether the document, or something that it may grow into, satisfies the schema."""
        try:
            return self._fits(self._root, root, False, True)
        except RecursionError:
            return False

    def _fits(self, schema: Any, value: Value, lenient: bool, trusted: bool) -> bool:
        """`lenient`: yes where validators differ. `trusted`: the engine has seen to all but the marks."""
        if not isinstance(schema, dict):
            return schema is not False
        if trusted and not self._is_marked(schema):
            return True
        if not value.is_whole:
            return self._check(schema, value, lenient, trusted)
        key = (id(schema), lenient, trusted)
        known = value.seen.get(key)
        if known is None:
            known = value.seen[key] = self._check(schema, value, lenient, trusted)
        return known

    def _is_marked(self, schema: Any) -> bool:
        """Whether a mark stands in the schema or in what it refers to."""
        seen: dict[
            int, bool
        ] = {}  # if a mark is found, nothing is known of the others on the way: there may be circles
        waiting = [schema]
        while waiting:
            one = waiting.pop()
            if not isinstance(one, dict) or id(one) in seen:
                continue
            known = self._marked.get(id(one), any(key in one for key in MARKS))
            if known:
                self._marked[id(schema)] = True
                return True
            if id(one) not in self._marked:
                seen[id(one)] = False
                waiting += inner_schemas({key: value for key, value in one.items() if key != "$defs"})
                waiting += [self._target(one)] if "$ref" in one else []
        self._marked |= seen
        return False

    def _target(self, schema: dict[str, Any]) -> Any:
        return self._definitions.get(str(schema["$ref"]).removeprefix("#/$defs/"), False)

    def _check(self, schema: dict[str, Any], value: Value, lenient: bool, trusted: bool) -> bool:
        if "$ref" in schema and not self._fits(self._target(schema), value, lenient, trusted):
            return False
        if not all(self._fits(part, value, lenient, trusted) for part in schema.get("allOf", ())):
            return False
        options = schema.get("anyOf", ())
        asks = "anyOf" in schema and (not trusted or any(map(self._is_marked, options)))
        if asks and not any(self._fits(option, value, lenient, False) for option in options):
            return False
        refused = schema[REFUSES]["schema"] if REFUSES in schema and value.is_whole else False
        if self._fits(refused, value, not lenient, False):
            return False
        if HOLDS in schema and not self._fits(schema[HOLDS]["schema"], value, lenient, False):
            return False
        if not value.is_known:
            return True
        if value.members is not None:
            return (trusted or _has_type(schema, "object", value)) and self._object(schema, value, lenient, trusted)
        if value.items is not None:
            return (trusted or _has_type(schema, "array", value)) and self._array(schema, value, lenient, trusted)
        return trusted or _scalar(schema, value, lenient)

    def _object(self, schema: dict[str, Any], value: Value, lenient: bool, trusted: bool) -> bool:
        members = value.members or {}
        properties, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
        key = (id(schema), lenient, trusted)
        begin = value.passed.get(key, 0)
        for number, (name, inner) in enumerate(islice(members.items(), begin, None), begin + 1):
            applied = [properties[name]] if name in properties else []
            applied += [inner_schema for pattern, inner_schema in patterns.items() if _is_found(pattern, name, lenient)]
            for inner_schema in applied or [schema.get("additionalProperties")]:
                if inner_schema is not None and not self._fits(inner_schema, inner, lenient, trusted):
                    return False
            if inner.is_whole and begin == number - 1:
                begin = value.passed[key] = number
        if len(members) > schema.get("maxProperties", len(members)):
            return False
        if not value.is_whole:
            return True
        least = max(schema.get("minProperties", 0), schema[LEAST]["least"] if LEAST in schema else 0)
        return len(members) >= least and all(name in members for name in schema.get("required", ()))

    def _array(self, schema: dict[str, Any], value: Value, lenient: bool, trusted: bool) -> bool:
        items = value.items or []
        prefix, rest = schema.get("prefixItems", ()), schema.get("items")
        is_seen_to = trusted and not any(map(self._is_marked, (*prefix, rest)))
        key = (id(schema), lenient, trusted)
        for i in range(len(items) if is_seen_to else value.passed.get(key, 0), len(items)):
            inner_schema = prefix[i] if i < len(prefix) else rest
            if inner_schema is not None and not self._fits(inner_schema, items[i], lenient, trusted):
                return False
            if items[i].is_whole:
                value.passed[key] = i + 1
        if len(items) > schema.get("maxItems", len(items)):
            return False
        if UNIQUE in schema and not _is_distinct(value):
            return False
        if CONTAINS in schema and not self._contains(schema[CONTAINS], value, items, lenient):
            return False
        return not value.is_whole or len(items) >= int(schema.get("minItems", 0))

    def _contains(self, mark: dict[str, Any], value: Value, items: list[Value], lenient: bool) -> bool:
        schema, most = mark["schema"], mark["most"]
        if most is not None and self._count(schema, value, items, not lenient) > most:
            return False
        return not value.is_whole or self._count(schema, value, items, lenient) >= mark["least"]

    def _count(self, schema: Any, value: Value, items: list[Value], lenient: bool) -> int:
        """How many of the items that are whole satisfy the schema."""
        key = (id(schema), lenient)
        num_seen, num_found = value.counted.get(key, (0, 0))
        for inner in items[num_seen:]:
            if inner.is_whole:
                num_seen += 1
                num_found += self._fits(schema, inner, lenient, False)
        value.counted[key] = num_seen, num_found
        return num_found


class Watch(NamedTuple):
    """What is watched while a document is written."""

    judge: SchemaJudge
    places: Places


def watch_of(schema: dict[str, Any] | bool) -> Watch | None:
    """For a normalised schema; None: masks enforce all of it."""
    if not isinstance(schema, dict) or first_mark(schema) is None:
        return None
    return Watch(SchemaJudge(schema), Places(schema))


def _is_distinct(array: Value) -> bool:
    """Whether the items that are whole differ; what was found is kept, for arrays only grow."""
    known = array.distinct
    for item in (array.items or [])[len(known) :]:
        if item.is_whole:
            if _text(item) in known:
                return False
            known.add(_text(item))
    return True


def _text(value: Value) -> str:
    """A text that equal values share, of a whole one."""
    if value.text is None:
        value.text = canonical(value.plain())
    return value.text


def _has_type(schema: dict[str, Any], name: str, value: Value) -> bool:
    """Also by `const` and `enum`, for containers."""
    types = schema.get("type")
    if types is not None and name not in (types if isinstance(types, list) else [types]):
        return False
    for values in ([schema["const"]] if "const" in schema else None, schema.get("enum")):
        if values is None:
            continue
        kind = dict if name == "object" else list
        if not any(canonical(one) == _text(value) if value.is_whole else isinstance(one, kind) for one in values):
            return False
    return True


def _scalar(schema: dict[str, Any], value: Value, lenient: bool) -> bool:
    scalar = value.scalar
    is_number = isinstance(scalar, int | float) and not isinstance(scalar, bool)
    name = "number" if is_number else "string" if isinstance(scalar, str) else "null" if scalar is None else "boolean"
    if not _has_type(schema, name, value):
        types = schema.get("type", ())
        is_integer = is_number and "integer" in types and (isinstance(scalar, int) or scalar.is_integer())
        if not is_integer or not _has_type({k: v for k, v in schema.items() if k != "type"}, name, value):
            return False
    if is_number:
        return _number(schema, scalar, lenient)
    return not isinstance(scalar, str) or _string(schema, scalar, lenient)


def _number(schema: dict[str, Any], number: float, lenient: bool) -> bool:
    step = schema.get("multipleOf")
    if isinstance(number, float) and math.isinf(number):  # larger than Python's floats
        return lenient or (step is None and not schema.keys() & BOUNDS)
    return (
        number >= schema.get("minimum", number)
        and number <= schema.get("maximum", number)
        and ("exclusiveMinimum" not in schema or number > schema["exclusiveMinimum"])
        and ("exclusiveMaximum" not in schema or number < schema["exclusiveMaximum"])
        and (step is None or Fraction(str(number)) % Fraction(str(step)) == 0)
    )


def _string(schema: dict[str, Any], text: str, lenient: bool) -> bool:
    if not schema.get("minLength", 0) <= len(text) <= schema.get("maxLength", len(text)):
        return False
    if "pattern" in schema and not _is_found(schema["pattern"], text, lenient):
        return False
    return lenient or "format" not in schema or _has_format(schema["format"], text)


def _is_found(pattern: str, text: str, lenient: bool) -> bool:
    """Whether a pattern in the engine's words is found in the text; `lenient` where that takes too long to say."""
    try:
        return _compiled(pattern).search(text, timeout=PATTERN_TIMEOUT_S) is not None
    except TimeoutError:
        return lenient


@lru_cache(maxsize=512)
def _compiled(pattern: str) -> regex.Pattern[str]:
    spelled = re.sub(r"\\x\{([0-9a-fA-F]+)\}", lambda found: f"\\U{int(found[1], 16):08x}", pattern)
    if spelled.startswith("^") and spelled.endswith("$"):
        spelled = rf"\A{spelled[1:-1]}\Z"
    return regex.compile(spelled, regex.VERSION0)


@lru_cache(maxsize=32)
def _format_grammar(name: str) -> tuple[llguidance.LLTokenizer, str]:
    schema = json.dumps({"type": "string", "format": name})
    return llguidance.LLTokenizer("byte"), llguidance.LLMatcher.grammar_from_json_schema(schema)


def _has_format(name: str, text: str) -> bool:
    """As the engine reads the format."""
    tokenizer, grammar = _format_grammar(name)
    tokens = tokenizer.tokenize_str(json.dumps(text, ensure_ascii=False))
    return bool(llguidance.LLMatcher(tokenizer, grammar).validate_tokens(tokens) == len(tokens))
