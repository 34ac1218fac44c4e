"""The `pattern` of a string, in the engine's words: several patterns where all of them must match."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import llguidance

from ...errors import GrammarError, GrammarSyntaxError, GrammarTooLarge
from .complement import OtherStrings
from .controls import may_spell
from .patterns import REMEMBERED, engine_pattern, search_trees
from .refusal import invalid, too_large, unsupported
from .strings import outside


def string_patterns(value: Any, pointer: str) -> list[str]:
    """Patterns that together say what `value` does: a pattern as written, or a tree made of one.

    Raises a GrammarError with the pointer.
    """
    try:
        if isinstance(value, OtherStrings):
            return [_pattern_outside(value)]
        return list(_engine_patterns(value)) if isinstance(value, str) else [engine_pattern(value)]
    except GrammarSyntaxError as error:
        # Not Python's: the engine may know it, such as \p{L}.
        grammar = llguidance.LLMatcher.grammar_from_regex(str(value))
        if llguidance.LLMatcher.validate_grammar(grammar):
            raise invalid(f"{value!r} is {error.message}", "pattern", pointer) from None
        if may_spell(str(value)):
            raise unsupported("control characters beside such sets are not served", "pattern", pointer) from None
        return [str(value)]
    except GrammarTooLarge as error:
        raise too_large(error.message, "pattern", pointer) from None
    except GrammarError as error:
        raise unsupported(error.message, "pattern", pointer) from None


@lru_cache(maxsize=REMEMBERED)
def _pattern_outside(strings: OtherStrings) -> str:
    return engine_pattern(outside(strings))


@lru_cache(maxsize=REMEMBERED)
def _engine_patterns(pattern: str) -> tuple[str, ...]:
    return tuple(map(engine_pattern, search_trees(pattern)))
