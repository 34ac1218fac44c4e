"""The lines of a batch's file, checked before the first is answered."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from ...errors import RequestError
from .http import parse_json

MAX_LINES = 50_000


class Line(NamedTuple):
    """One request, as it stands in the file: as values it would take thirty times the room."""

    number: int
    """Its place in the file."""
    custom_id: str
    text: memoryview

    def body(self) -> dict[str, Any]:
        """A new one each time."""
        return msgspec.json.decode(self.text)["body"]  # type: ignore[no-any-return]  # checked by lines_of


def lines_of(content: bytes, endpoint: str) -> list[Line]:
    """The requests of a file, those of one prefix beside each other. Raises RequestError naming the line (from 1) and
    its field.
    """
    found: list[tuple[bytes, Line]] = []
    seen: set[str] = set()
    whole, end = memoryview(content), 0
    for number, raw in enumerate(content.split(b"\n"), 1):
        begin, end = end, end + len(raw) + 1
        if not raw.strip():
            continue
        if len(found) == MAX_LINES:
            raise RequestError(f"the file holds more than {MAX_LINES} lines", param="input_file_id")
        custom_id, order = _line(raw, number, endpoint)
        if custom_id in seen:
            raise _wrong(number, "custom_id", "stands in an earlier line, too")
        seen.add(custom_id)
        found.append((order, Line(number, custom_id, whole[begin : begin + len(raw)])))
    if not found:
        raise RequestError("the file holds no line", param="input_file_id")
    return [line for _, line in sorted(found, key=lambda one: one[0])]


def _line(raw: bytes, number: int, endpoint: str) -> tuple[str, bytes]:
    """The custom_id, and what the prompt begins with."""
    try:
        told = parse_json(raw)
    except RequestError as error:
        raise RequestError(f"line {number}: {error.message}", param="input_file_id", code=error.code) from None
    if not isinstance(told, dict):
        raise _wrong(number, "the line", "must be a JSON object")
    custom_id, body = told.get("custom_id"), told.get("body")
    if not isinstance(custom_id, str) or not custom_id:
        raise _wrong(number, "custom_id", "must be a string")
    if told.get("method") != "POST":
        raise _wrong(number, "method", "must be POST")
    if told.get("url") != endpoint:
        raise _wrong(number, "url", f"must be {endpoint}, as the batch says")
    if not isinstance(body, dict):
        raise _wrong(number, "body", "must be an object")
    if body.get("stream") or body.get("background"):
        raise _wrong(number, "body", "asks for a stream or the background; batches answer whole")
    prompt = next((body[name] for name in ("messages", "prompt", "input") if name in body), None)
    return custom_id, msgspec.json.encode(prompt)[:4096]


def _wrong(number: int, field: str, why: str) -> RequestError:
    return RequestError(f"line {number}: {field} {why}", param="input_file_id", code="invalid_batch_line")
