"""Refusals of a schema: each names the keyword, the place and what to do instead."""

from __future__ import annotations

from ...errors import GrammarTooLarge, UnsatisfiableGrammar, UnsupportedGrammar


def invalid(message: str, keyword: str, pointer: str) -> UnsupportedGrammar:
    """The schema is not a schema."""
    error = UnsupportedGrammar(f"{message} (at {pointer})", keyword=keyword, pointer=pointer)
    error.code = "invalid_schema"
    return error


def unsupported(message: str, keyword: str, pointer: str) -> UnsupportedGrammar:
    """The schema is fine, but cannot be enforced exactly."""
    return UnsupportedGrammar(f"{message} (at {pointer})", keyword=keyword, pointer=pointer)


def unsatisfiable(message: str, keyword: str | None, pointer: str) -> UnsatisfiableGrammar:
    """No document fits."""
    return UnsatisfiableGrammar(f"{message} (at {pointer})", keyword=keyword, pointer=pointer)


def too_large(message: str, keyword: str | None, pointer: str) -> GrammarTooLarge:
    """Above the limits."""
    return GrammarTooLarge(f"{message} (at {pointer})", keyword=keyword, pointer=pointer)
