"""Values of a JSON text that is still being written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..errors import ProgramError
from .dtype import convert, parse_value

if TYPE_CHECKING:
    from .state import ProgramState

_NOTHING = object()


def completions(text: str) -> list[str]:
    """JSON documents that the unfinished `text` may already stand for, the fullest first.

    The first keeps a string value that is being written, the second ends before it; numbers and names that may go on
    are left out, and so are keys without a value.
    """
    stack: list[str] = []
    is_key = in_string = escaped = False
    value_string = False
    safe: tuple[int, str] | None = None

    def closers() -> str:
        return "".join("}" if bracket == "{" else "]" for bracket in reversed(stack))

    for i, char in enumerate(text):
        if in_string:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                in_string = False
                if value_string:
                    safe = (i + 1, closers())
        elif char == '"':
            in_string, value_string = True, not (is_key and stack and stack[-1] == "{")
        elif char in "{[":
            stack.append(char)
            is_key = char == "{"
            safe = (i + 1, closers())
        elif char in "}]":
            if not stack:
                break
            stack.pop()
            safe = (i + 1, closers())
        elif char == ",":
            safe = (i, closers())
            is_key = bool(stack) and stack[-1] == "{"
        elif char == ":":
            is_key = False
    found = []
    if in_string and value_string:
        found.append(_without_open_escape(text) + '"' + closers())
    if safe is not None:
        found.append(text[: safe[0]] + safe[1])
    return found


_OPEN_ESCAPE = re.compile(r"(?<!\\)((?:\\\\)*)((?:\\u[dD][89abAB][0-9a-fA-F]{2})?(?:\\(?:u[0-9a-fA-F]{0,3})?)?)\Z")


def _without_open_escape(text: str) -> str:
    r"""Drops a backslash or a \uXX that waits for its rest, and the first half of a surrogate pair."""
    found = _OPEN_ESCAPE.search(text)
    return text if found is None else text[: found.start(2)]


def partial_value(text: str, kind: Any) -> Any:
    """The fullest value of type `kind` that the unfinished `text` gives; raises ValueError if it gives none."""
    for document in completions(text):
        try:
            return convert(json.loads(document), kind)
        except (ValueError, TypeError, KeyError):
            continue
    raise ValueError("no value of that type yet")


def partial_values(state: ProgramState, name: str) -> Iterator[Any]:
    """See ProgramState.stream_value."""
    text, last = "", _NOTHING
    for piece in state.text_iter(name):
        text += piece
        kind = state.dtype_of(name)
        try:
            value = partial_value(text, kind)
        except ValueError:
            continue
        if last is _NOTHING or value != last:
            last = value
            yield value
    kind = state.dtype_of(name)
    if kind is None:
        raise ProgramError(f"{name!r} has no dtype; use text_iter for its text")
    value = parse_value(state.get_var(name), kind)
    if last is _NOTHING or value != last:
        yield value
