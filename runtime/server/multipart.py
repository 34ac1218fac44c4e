"""multipart/form-data (RFC 7578), as clients upload files: a whole body to its fields."""

from __future__ import annotations

import re
from typing import NamedTuple

from ...errors import RequestError

MAX_PARTS = 16
_NAME = re.compile(r'[;\s]name="([^"]*)"', re.IGNORECASE)
_FILENAME = re.compile(r'[;\s]filename="([^"]*)"', re.IGNORECASE)
_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)


class Part(NamedTuple):
    """One field."""

    content: bytes
    filename: str | None


def parts_of(body: bytes, content_type: str) -> dict[str, Part]:
    """The fields by name; of two with one name the last. Raises RequestError for what is no such body."""
    found = _BOUNDARY.search(content_type)
    if not content_type.lower().startswith("multipart/form-data") or found is None:
        raise RequestError("the body must be multipart/form-data with a boundary", code="invalid_multipart")
    mark = b"--" + (found.group(1) or found.group(2)).encode("latin-1", "replace")
    pieces = (b"\r\n" + body).split(b"\r\n" + mark, MAX_PARTS + 2)
    if len(pieces) < 3 or len(pieces) > MAX_PARTS + 2 or not pieces[-1].startswith(b"--"):
        raise RequestError("the multipart body has no end, or too many parts", code="invalid_multipart")
    parts: dict[str, Part] = {}
    for piece in pieces[1:-1]:
        head, ends, content = piece.partition(b"\r\n\r\n")
        told = b" " + b" ".join(
            line for line in head.split(b"\r\n") if line.lower().startswith(b"content-disposition:")
        )
        name = _NAME.search(told.decode("utf-8", "replace"))
        if not ends or name is None:
            raise RequestError("a part of the multipart body has no name", code="invalid_multipart")
        filename = _FILENAME.search(told.decode("utf-8", "replace"))
        parts[name.group(1)] = Part(content, filename.group(1) if filename is not None else None)
    return parts
