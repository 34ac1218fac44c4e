"""Tool calls found in what a model wrote: one reader for each way in which models write them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple


class ToolCall(NamedTuple):
    name: str
    arguments: str
    """JSON text of an object."""


class Parsed(NamedTuple):
    text: str
    """What is not a call."""
    calls: list[ToolCall]


def parse(text: str, parser: str, names: frozenset[str] | None = None) -> Parsed:
    """Reads `text` as the format `parser` writes calls. Calls of tools that are not in `names` stay text."""
    return PARSERS[parser](text, names)


def _tagged(text: str, names: frozenset[str] | None) -> Parsed:
    """<tool_call>{"name": …, "arguments": {…}}</tool_call>: Qwen 2.5, Hermes."""
    calls: list[ToolCall] = []
    rest: list[str] = []
    at = 0
    for found in re.finditer(r"<tool_call>\s*(.*?)\s*(?:</tool_call>|\Z)", text, re.DOTALL):
        read = _calls_of(found.group(1), names)
        if read:
            rest.append(text[at : found.start()])
            calls += read
            at = found.end()
    rest.append(text[at:])
    return Parsed("".join(rest).strip() if calls else text, calls)


def _python_tag(text: str, names: frozenset[str] | None) -> Parsed:
    """Llama 3: the whole answer is JSON, perhaps behind <|python_tag|>; several are separated by semicolons."""
    head, tag, body = text.partition("<|python_tag|>")
    if not tag:
        head, body = "", text
    calls: list[ToolCall] = []
    for piece in _json_values(body.strip()):
        calls += _calls_of(piece, names)
    return Parsed(head.strip(), calls) if calls else Parsed(text, [])


def _mistral(text: str, names: frozenset[str] | None) -> Parsed:
    """[TOOL_CALLS] [{"name": …, "arguments": {…}}, …]"""
    head, tag, body = text.partition("[TOOL_CALLS]")
    calls = _calls_of(body.strip(), names) if tag else []
    return Parsed(head.strip(), calls) if calls else Parsed(text, [])


def _bare(text: str, names: frozenset[str] | None) -> Parsed:
    """The whole answer is one call, or a list of calls, as JSON."""
    calls = _calls_of(text.strip(), names)
    return Parsed("", calls) if calls else Parsed(text, [])


def _any(text: str, names: frozenset[str] | None) -> Parsed:
    for reader in (_tagged, _mistral, _python_tag):
        parsed = reader(text, names)
        if parsed.calls:
            return parsed
    return Parsed(text, [])


def _json_values(text: str) -> list[str]:
    """JSON values that follow each other, semicolons between them."""
    decoder, values, at = json.JSONDecoder(), [], 0
    while at < len(text):
        try:
            _, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return []
        values.append(text[at:end])
        at = end + len(text[end:]) - len(text[end:].lstrip("; \n\t"))
    return values


def _calls_of(text: str, names: frozenset[str] | None) -> list[ToolCall]:
    """The calls that a JSON text holds; none unless all of it are calls of known tools."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return []
    calls = []
    for one in value if isinstance(value, list) else [value]:
        call = _call_of(one)
        if call is None or (names is not None and call.name not in names):
            return []
        calls.append(call)
    return calls


def _call_of(value: Any) -> ToolCall | None:
    if not isinstance(value, dict):
        return None
    inner = value.get("function")
    if isinstance(inner, dict):
        value = inner
    name = value.get("name")
    arguments = value.get("arguments", value.get("parameters", {}))
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return None
    if not isinstance(name, str) or not isinstance(arguments, dict):
        return None
    return ToolCall(name, json.dumps(arguments, ensure_ascii=False))


_Reader = Callable[[str, "frozenset[str] | None"], Parsed]
PARSERS: dict[str, _Reader] = {
    "auto": _any,
    "qwen25": _tagged,
    "qwen": _tagged,
    "hermes": _tagged,
    "llama3": _python_tag,
    "mistral": _mistral,
    "json": _bare,
}
