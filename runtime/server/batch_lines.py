"""The lines of a batch's file, checked before the first is answered."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from ...errors import RequestError
from .http import parse_json

MAX_LINES = 50_000


class Line(NamedTuple):
    custom_id: str
    body: dict[str, Any]
    order: bytes
    """Sorts lines of one prefix beside each other."""


def lines_of(content: bytes, endpoint: str) -> list[Line]:
    """The requests of a file. Raises RequestError naming the line (from 1) and its field."""
    raw = [line for line in content.split(b"\n") if line.strip()]
    if not 0 < len(raw) <= MAX_LINES:
        raise RequestError(f"the file must hold 1 to {MAX_LINES} lines, found {len(raw)}", param="input_file_id")
    lines: list[Line] = []
    seen: set[str] = set()
    for number, one in enumerate(raw, 1):
        lines.append(_line(one, number, endpoint))
        if lines[-1].custom_id in seen:
            raise _wrong(number, "custom_id", "stands in an earlier line, too")
        seen.add(lines[-1].custom_id)
    return lines


def _line(raw: bytes, number: int, endpoint: str) -> Line:
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
    return Line(custom_id, body, msgspec.json.encode(prompt)[:4096])


def _wrong(number: int, field: str, why: str) -> RequestError:
    return RequestError(f"line {number}: {field} {why}", param="input_file_id", code="invalid_batch_line")
