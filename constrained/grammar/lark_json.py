"""JSON schemas inside a Lark grammar: read as schemas are read elsewhere, so that the engine loosens nothing.

Its own reading of them takes white space without end, and rounds numbers.
"""

from __future__ import annotations

import json
import re

from ...errors import GrammarError, GrammarSyntaxError, GrammarTooLarge, UnsupportedGrammar
from ..json_schema.inline import inline
from ..json_schema.numbers import holds_inexact
from .reader import MAX_CHARS

_PIECE = re.compile(r'"(?:[^"\\\n]|\\.)*"|//[^\n]*|/(?:[^/\\\n]|\\.)+/|%json\s*')
"""A string, a comment, a regex, or what a schema follows."""
ENGINE_OPTIONS = "x-guidance"
"""A schema that has it is in the engine's terms already: one of ours, or of somebody who knows them."""
_LOOSE = ("lenient", "coerce_one_of")


def with_read_json(lark: str) -> str:
    """The grammar with its schemas in the engine's terms, line by line as before. Raises a GrammarError."""
    if len(lark) > MAX_CHARS:
        raise GrammarTooLarge(f"the grammar has {len(lark)} characters; at most {MAX_CHARS} are taken")
    if "%json" not in lark:
        return lark
    out: list[str] = []
    at = 0
    while (piece := _PIECE.search(lark, at)) is not None:
        out.append(lark[at : piece.end()])
        at = piece.end()
        if piece.group().startswith("%json"):
            begin = at
            try:
                schema, at = json.JSONDecoder().raw_decode(lark, begin)
            except (ValueError, RecursionError) as error:
                line, column = _place(lark, getattr(error, "pos", begin))
                why = getattr(error, "msg", "nested too deeply, or a number of thousands of digits")
                why = f"{why} (line {line}, column {column})"
                raise GrammarSyntaxError(f"what follows %json is not JSON: {why}", line=line, column=column) from None
            out.append(_read(schema, lark[begin:at], _place(lark, begin)[0]))
    return "".join([*out, lark[at:]])


def _read(schema: object, text: str, line: int) -> str:
    if isinstance(schema, dict) and isinstance(options := schema.get(ENGINE_OPTIONS), dict):
        loose = next((name for name in _LOOSE if options.get(name)), None)
        if loose is not None:
            raise UnsupportedGrammar(f"{loose} loosens a schema; remove it (in %json, line {line})", keyword=loose)
        if holds_inexact(schema):
            raise UnsupportedGrammar(f"a number has more digits than are enforced (in %json, line {line})")
        return text
    try:
        read = inline(text).removeprefix("%json ")
    except GrammarError as error:
        error.message = f"{error.message} (in %json, line {line})"
        raise
    return read.replace("{", "{" + "\n" * text.count("\n"), 1)


def _place(text: str, at: int) -> tuple[int, int]:
    return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
