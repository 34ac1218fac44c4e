"""A JSON schema as a part of a larger grammar."""

from __future__ import annotations

import json
from typing import Any

from ..constraint import WhiteSpace
from .contradictions import types_left
from .marks import first_mark
from .normalise import normalise
from .refusal import unsupported
from .whitespace import engine_options

_FIRST = {
    "object": b"{", "array": b"[", "string": b'"', "number": b"-0123456789", "boolean": b"tf", "null": b"n",
}  # fmt: skip


def inline(text: str, whitespace: WhiteSpace = "fixed") -> str:
    """The body of a rule of the engine's Lark. Raises a GrammarError with a JSON pointer."""
    schema = _read(text)
    return "%json " + json.dumps({"x-guidance": engine_options(whitespace, json.dumps(schema)), **schema})


def first_bytes(text: str) -> bytes:
    """Bytes with which a document may begin."""
    return edges(_read(text))[0]


def carries_on(text: str) -> bytes:
    """Bytes that, right behind a document, could be a part of it."""
    return edges(_read(text))[1]


def edges(schema: dict[str, Any]) -> tuple[bytes, bytes]:
    """Of a normalised schema the bytes with which a document may begin, and those that, right behind one, could be a
    part of it: of a number, which has no end of its own."""
    if "const" in schema or isinstance(schema.get("enum"), list):
        texts = {json.dumps(value) for value in ([schema["const"]] if "const" in schema else schema["enum"])}
        onward = {t[n] for t in texts if t[0] in "-0123456789" for n in range(1, len(t)) if t[:n] in texts}
        return bytes(sorted({text[0].encode()[0] for text in texts})), "".join(sorted(onward)).encode()
    kinds = types_left(schema, schema.get("$defs", {}))
    first = b"".join(_FIRST[name] for name in sorted(kinds))
    named = schema.get("type", "number")
    has_fractions = "number" in (named if isinstance(named, list) else [named])
    return first, b"" if "number" not in kinds else b"0123456789.eE" if has_fractions else b"0123456789"


def _read(text: str) -> dict[str, Any]:
    schema = normalise(text).schema
    if not isinstance(schema, dict):
        return {}
    mark = first_mark(schema)
    if mark is not None:
        message = f"{mark.keyword} is checked while a document is written, which a part of a grammar is not"
        raise unsupported(message, mark.keyword, mark.pointer)
    return schema
