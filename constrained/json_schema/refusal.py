"""Refusals of a schema: each names the keyword, the place and what to do instead."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any

from ...errors import GrammarError, GrammarTooLarge, UnsatisfiableGrammar, UnsupportedGrammar

WHY = "x-why"  # in a normalised schema: message, keyword and pointer of what makes it empty


def invalid(message: str, keyword: str, pointer: str) -> UnsupportedGrammar:
    """The schema is not a schema."""
    error = UnsupportedGrammar(f"{message} (at {pointer})", keyword=keyword, pointer=pointer)
    error.code = "invalid_schema"
    return error


def unsupported(message: str, keyword: str, pointer: str) -> UnsupportedGrammar:
    """The schema is fine, but cannot be enforced exactly."""
    return UnsupportedGrammar(f"{message} (at {pointer})", keyword=keyword, pointer=pointer)


def may_both_match(one: int, other: int, pointer: str) -> UnsupportedGrammar:
    """Branches of a oneOf that are not told apart."""
    message = f"branches {one} and {other} of oneOf may both match; use anyOf, or a const property that differs"
    return unsupported(message, "oneOf", f"{pointer}/oneOf/{other}")


def unsatisfiable(message: str, keyword: str | None, pointer: str) -> UnsatisfiableGrammar:
    """No document fits."""
    return UnsatisfiableGrammar(f"{message} (at {pointer})", keyword=keyword, pointer=pointer)


def no_object(message: str, keyword: str, pointer: str) -> dict[str, Any]:
    """A schema that no object fits, and why: other types still may."""
    return {"type": ["null", "boolean", "array", "number", "string"], WHY: [message, keyword, pointer]}


def no_array(message: str, keyword: str, pointer: str) -> dict[str, Any]:
    """As `no_object`, of arrays."""
    return {"type": ["null", "boolean", "object", "number", "string"], WHY: [message, keyword, pointer]}


def too_large(message: str, keyword: str | None, pointer: str) -> GrammarTooLarge:
    """Above the limits."""
    return GrammarTooLarge(f"{message} (at {pointer})", keyword=keyword, pointer=pointer)


def placed(error: GrammarError, pointer: str) -> GrammarError:
    """The error of a pattern or a grammar that stands at `pointer`."""
    error.message = f"{error.message} (at {pointer})"
    error.pointer = pointer  # type: ignore[attr-defined]
    return error


def check_keys(spec: dict[str, Any], known: AbstractSet[str], pointer: str) -> None:
    """Raises UnsupportedGrammar for a key that is not `known`: nothing is passed over."""
    for key, value in spec.items():
        if key not in known and value is not None:
            message = f"{key} is not served here; known are {', '.join(sorted(known))} (at {pointer}/{key})"
            raise UnsupportedGrammar(message, keyword=key, pointer=f"{pointer}/{key}")
