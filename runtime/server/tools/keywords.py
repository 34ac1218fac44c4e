"""A call's arguments as Python's keyword arguments, `a=1, b="x"`: as a constraint, where they end, and as JSON."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

from ....errors import UnsupportedGrammar

_SERVED = frozenset({
    "$defs", "$schema", "additionalProperties", "definitions", "description", "properties", "required", "title", "type",
})  # fmt: skip
"""What a schema of arguments may hold where they are keywords, each with a value of its own."""
_NAME = re.compile(r"[^\W\d]\w*")
_CLOSES = {"(": ")", "[": "]", "{": "}"}


def keywords_format(schema: dict[str, Any]) -> dict[str, Any]:
    """What these arguments are, as a structural tag's format: required ones first, each once.

    Values are JSON, but that true, false and null are Python's where they are the whole of it. Raises
    UnsupportedGrammar for a schema that says something of several arguments at once.
    """
    for keyword in schema:
        if keyword not in _SERVED:
            raise UnsupportedGrammar(
                f"{keyword} is not served where arguments are written as Python's; say it of each property",
                keyword=keyword,
                pointer=f"#/{keyword}",
            )
    properties = schema.get("properties", {})
    required = schema.get("required", [])
    for name in required:
        if name not in properties:
            raise UnsupportedGrammar(f"{name!r} is required and no property", keyword="required", pointer="#/required")
    shared: dict[str, Any] = {key: schema[key] for key in ("$defs", "definitions", "$schema") if key in schema}
    named = {
        name: _sequence(_text(f"{name}="), _value(properties[name], shared))
        for name in [*required, *(n for n in properties if n not in required)]
    }
    if not named and schema.get("additionalProperties") is not False and not properties:
        return _anything()
    first = [named[name] for name in required]
    rest = [named[name] for name in named if name not in required]
    if first:
        parts = first[:1]
        for one in first[1:]:
            parts += [_text(", "), one]
        return _sequence(*parts, *(_optional(_sequence(_text(", "), one)) for one in rest))
    if not rest:
        return _text("")
    options = [
        _sequence(one, *(_optional(_sequence(_text(", "), other)) for other in rest[at + 1 :]))
        for at, one in enumerate(rest)
    ]
    return _optional({"type": "or", "elements": options})


def _value(schema: Any, shared: dict[str, Any]) -> dict[str, Any]:
    kind = schema.get("type") if isinstance(schema, dict) else None
    if kind == "boolean" and not schema.keys() & {"const", "enum", "not", "allOf", "anyOf", "oneOf"}:
        return {"type": "or", "elements": [_text("True"), _text("False")]}
    return {"type": "json_schema", "json_schema": {**shared, **schema} if isinstance(schema, dict) else schema}


def _anything() -> dict[str, Any]:
    name = {"type": "regex", "pattern": "[A-Za-z_][A-Za-z0-9_]{0,63}="}
    one = _sequence(name, {"type": "json_schema", "json_schema": {}})
    return _optional(_sequence(one, {"type": "star", "content": _sequence(_text(", "), one)}))


def _text(value: str) -> dict[str, Any]:
    return {"type": "const_string", "value": value}


def _optional(content: dict[str, Any]) -> dict[str, Any]:
    return {"type": "optional", "content": content}


def _sequence(*elements: dict[str, Any]) -> dict[str, Any]:
    return {"type": "sequence", "elements": list(elements)}


class KeywordsEnd:
    """Where keyword arguments end, found as they come: one look at every character."""

    def __init__(self) -> None:
        self._closers: list[str] = []
        self._quote = ""
        self._is_escaped = False

    def find(self, text: str, start: int = 0) -> int | None:
        """The index of the parenthesis behind them, which go on with `text[start:]`; None: not in it."""
        for at, _ in self.outside(text, start):
            if not self._closers and text[at] == ")":
                return at
        return None

    def outside(self, text: str, start: int = 0) -> Iterator[tuple[int, bool]]:
        """Places from `start` on outside of strings, and whether they are outside of all brackets."""
        for at in range(start, len(text)):
            char = text[at]
            if self._is_escaped:
                self._is_escaped = False
            elif self._quote:
                self._is_escaped = char == "\\"
                self._quote = "" if char == self._quote else self._quote
            elif char in "\"'":
                self._quote = char
            elif char in _CLOSES:
                self._closers.append(_CLOSES[char])
            elif self._closers and char == self._closers[-1]:
                self._closers.pop()
            else:
                yield at, not self._closers


def keywords_to_json(text: str) -> str | None:
    """`a=1, b="x"` as the JSON text of an object; None: it is none of that."""
    commas = [at for at, is_top in KeywordsEnd().outside(text) if is_top and text[at] == ","]
    values: dict[str, Any] = {}
    for start, end in zip([0, *(at + 1 for at in commas)], [*commas, len(text)], strict=True):
        piece = text[start:end]
        if not piece.strip() and end == len(text):  # no arguments, or a comma behind the last
            continue
        name, _, value = (part.strip() for part in piece.partition("="))
        if not value or _NAME.fullmatch(name) is None:
            return None
        try:
            values[name] = _read(value)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return None
    try:
        return json.dumps(values, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):  # bytes, sets: Python's, and no JSON
        return None


def _read(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return ast.literal_eval(value)
