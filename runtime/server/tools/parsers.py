"""Tool calls found in what a model wrote: one reader for each way in which models write them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from .keywords import KeywordsEnd, keywords_to_json

MARKERS = ("<|python_tag|>", "[TOOL_CALLS]", "<｜tool▁calls▁begin｜>")
"""What begins calls that are read when the answer is whole."""


_TAGGED = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL)
_BETWEEN_VALUES = re.compile(r"[; \n\t]*")
_COMMA = re.compile(r"\s*(?:,\s*|\Z)")
_MESSAGE = "<|message|>"
_MESSAGE_END = re.compile(r"<\|(?:end|call|return|start|channel)\|>")
_TO = re.compile(r"to=functions\.([\w.-]+)")


class ToolCall(NamedTuple):
    name: str
    arguments: str
    """JSON text of an object."""

    @property
    def is_whole(self) -> bool:
        """Whether nothing cut the arguments short, as a stop or max_tokens may."""
        try:
            json.loads(self.arguments)
        except (ValueError, RecursionError):
            return False
        return True


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
    for found in _TAGGED.finditer(text):
        read = _calls_of(found.group(1).strip(), names)
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
    """[TOOL_CALLS] [{"name": …, "arguments": {…}}, …], or [TOOL_CALLS]name[ARGS]{…} for each call."""
    head, tag, body = text.partition("[TOOL_CALLS]")
    calls = _calls_of(body.strip(), names) if tag else []
    if tag and not calls:
        pieces = [piece.partition("[ARGS]") for piece in body.split("[TOOL_CALLS]")]
        calls = _named_calls([(name.partition("[CALL_ID]")[0], told) for name, _, told in pieces], names)
    return Parsed(head.strip(), calls) if calls else Parsed(text, [])


def _deepseek(text: str, names: frozenset[str] | None) -> Parsed:
    """<｜tool▁call▁begin｜>name<｜tool▁sep｜>{…}<｜tool▁call▁end｜> for each call, JSON in a code block for V3."""
    head, tag, body = text.partition("<｜tool▁calls▁begin｜>")
    named = []
    for piece in body.split("<｜tool▁call▁begin｜>")[1:]:
        first, _, told = piece.partition("<｜tool▁sep｜>")
        told, end, _ = told.partition("<｜tool▁call▁end｜>")
        if not end:
            continue
        name, is_v3, arguments = told.partition("\n```json\n") if first.strip() == "function" else (first, "", told)
        named.append((name, arguments.removesuffix("```") if is_v3 else arguments))
    calls = _named_calls(named, names) if tag else []
    return Parsed(head.strip(), calls) if calls else Parsed(text, [])


def _harmony(text: str, names: frozenset[str] | None) -> Parsed:
    """… to=functions.name …<|message|>{…}<|call|> in messages of channels: gpt-oss. Thoughts are not told."""
    named, said = [], []
    at = 0
    while (message := text.find(_MESSAGE, at)) >= 0:
        end = _MESSAGE_END.search(text, message)
        begin, at = text[at:message], end.start() if end is not None else len(text)
        told = text[message + len(_MESSAGE) : at]
        to = _TO.search(begin)
        if to is not None:
            named.append((to[1], told))
        elif "analysis" not in begin:
            said.append(told)
    calls = _named_calls(named, names)
    return Parsed("\n".join(said).strip(), calls) if calls else Parsed(text, [])


def _pythonic(text: str, names: frozenset[str] | None) -> Parsed:
    """The whole answer is [name(argument=value, …), …]: Llama 4."""
    body = text.strip().removeprefix("<|python_start|>").removesuffix("<|python_end|>").strip()
    if not (body.startswith("[") and body.endswith("]")):
        return Parsed(text, [])
    calls: list[ToolCall] = []
    inner, at = body[1:-1].strip(), 0
    while at < len(inner):
        begin = inner.find("(", at)
        end = KeywordsEnd().find(inner, begin + 1) if begin >= 0 else None
        name, arguments = inner[at:begin], None if end is None else keywords_to_json(inner[begin + 1 : end])
        if end is None or arguments is None or (names is not None and name not in names):
            return Parsed(text, [])
        calls.append(ToolCall(name, arguments))
        comma = _COMMA.match(inner, end + 1)
        if comma is None:
            return Parsed(text, [])
        at = comma.end()
    return Parsed("", calls) if calls else Parsed(text, [])


def _bare(text: str, names: frozenset[str] | None) -> Parsed:
    """The whole answer is one call, or a list of calls, as JSON."""
    calls = _calls_of(text.strip(), names)
    return Parsed("", calls) if calls else Parsed(text, [])


def _any(text: str, names: frozenset[str] | None) -> Parsed:
    for reader in (_tagged, _mistral, _deepseek, _python_tag):
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
        between = _BETWEEN_VALUES.match(text, end)
        at = between.end() if between is not None else end
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


def _named_calls(pieces: list[tuple[str, str]], names: frozenset[str] | None) -> list[ToolCall]:
    """Calls of (name, JSON text of the arguments); none unless all are calls of known tools."""
    calls = []
    for name, arguments in pieces:
        read = _calls_of(f'{{"name": {json.dumps(name.strip())}, "arguments": {arguments.strip() or "{}"}}}', names)
        if len(read) != 1:
            return []
        calls += read
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
    "deepseekv3": _deepseek,
    "deepseekv31": _deepseek,
    "gpt-oss": _harmony,
    "hermes": _tagged,
    "json": _bare,
    "llama3": _python_tag,
    "llama4": _pythonic,
    "mistral": _mistral,
    "pythonic": _pythonic,
    "qwen": _tagged,
    "qwen25": _tagged,
}
"""By the names that --tool-call-parser takes."""
