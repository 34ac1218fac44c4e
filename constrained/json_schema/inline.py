"""A JSON schema as a part of a larger grammar."""

from __future__ import annotations

import json
from typing import Any

from ..constraint import WhiteSpace
from .marks import first_mark
from .normalise import normalise
from .refusal import unsupported
from .whitespace import engine_options

_FIRST = {
    "object": b"{", "array": b"[", "string": b'"', "number": b"-0123456789", "integer": b"-0123456789",
    "boolean": b"tf", "null": b"n",
}  # fmt: skip


def inline(text: str, whitespace: WhiteSpace = "fixed") -> str:
    """The body of a rule of the engine's Lark. Raises a GrammarError with a JSON pointer."""
    schema = _read(text)
    return "%json " + json.dumps({"x-guidance": engine_options(whitespace, json.dumps(schema)), **schema})


def first_bytes(text: str) -> bytes:
    """Bytes with which a document may begin."""
    schema = _read(text)
    if "const" in schema or isinstance(schema.get("enum"), list):
        values = [schema["const"]] if "const" in schema else schema["enum"]
        return bytes(sorted({json.dumps(value)[0].encode()[0] for value in values}))
    types = schema.get("type")
    names = [types] if isinstance(types, str) else types if isinstance(types, list) else list(_FIRST)
    return b"".join(_FIRST[name] for name in names)


def carries_on(text: str) -> bytes:
    """Bytes that, right behind a document, could be a part of it: of a number, which has no end of its own."""
    schema = _read(text)
    if not set(first_bytes(text)) & set(b"0123456789"):
        return b""
    return b"0123456789" if schema.get("type") == "integer" else b"0123456789.eE"


def _read(text: str) -> dict[str, Any]:
    schema = normalise(text).schema
    if not isinstance(schema, dict):
        return {}
    mark = first_mark(schema)
    if mark is not None:
        message = f"{mark.keyword} is checked while a document is written, which a part of a grammar is not"
        raise unsupported(message, mark.keyword, mark.pointer)
    return schema
