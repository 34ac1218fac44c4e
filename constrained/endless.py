"""Whether what a grammar forces surely ends: llguidance follows forced bytes without a limit of its own.

Its lexer is greedy: where a lexeme can go on with a byte, no other begins there. So a lexeme that goes round in a loop
whose every byte is the only one is forced for ever once all that may follow begins as the loop does, as `/(ab)+/`
before `"ax"`. A loop with a choice in it, any class of two characters, is never forced: whatever leads to the class
within the loop is what is forced, so the class comes.
"""

from __future__ import annotations

import re

from ..errors import GrammarError
from .fsm.fallback import from_engine
from .fsm.pattern import Alt, Chars, Look, Node, Repeat, Seq

_HEAD = re.compile(r"%llguidance \{\}|//.*")
_JSON = re.compile(r"[a-z_][a-z0-9_]*: %json \{.*\}")
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"i?|/((?:[^/\\]|\\.)+)/([a-z]*)')
"""A string, or a regex and its flags."""
_RULE = re.compile(r"[a-z_][a-z0-9_]*\s*:[^/%\"\[]*")
"""What repeats in it are whole lexemes: none of them goes on by that."""
_TERMINAL = re.compile(r"(?:[A-Z_][A-Z0-9_]*\s*:|\s*\|)[A-Za-z0-9_()|?\s]*")
"""Also alternatives on a line of their own. Nothing in it repeats but inside of a regex."""
_OTHER_SYNTAX = re.compile(r"&&|--|~~|\[\[|\[:|\[\^?[^\]]*\[|\(\?[^:]")
"""What means something else to the engine than to Python: sets made of sets, and flags."""


def may_be_endless(node: Node) -> bool:
    """Whether the lexeme has a loop without a choice."""
    match node:
        case Repeat(inner, _, high):
            return (high is None and not _has_choice(inner)) or may_be_endless(inner)
        case Seq(parts) | Alt(parts):
            return any(map(may_be_endless, parts))
        case Look(inner, _, _):
            return may_be_endless(inner)
    return False


def is_surely_finite(lark: str) -> bool:
    """Of a Lark grammar whose lines are rules, with strings and regexes in them, terminals in which only regexes
    repeat, and JSON schemas. False for whatever else there is, such as imports and attributes."""
    return all(_is_finite(line) for line in lark.splitlines() if line.strip())


def _is_finite(line: str) -> bool:
    if _HEAD.fullmatch(line) or _JSON.fullmatch(line):
        return True
    rest = _TEXT.sub(" ", line)
    if not _RULE.fullmatch(rest) and not _TERMINAL.fullmatch(rest):
        return False
    return all(_ends(pattern, flags) for pattern, flags in _TEXT.findall(line) if pattern)


def _ends(pattern: str, flags: str) -> bool:
    """Of a regex as the engine reads it."""
    if _OTHER_SYNTAX.search(pattern) or set(flags) - {"i", "s"}:
        return False
    try:
        return not may_be_endless(from_engine(pattern))
    except (GrammarError, ValueError):
        return False


def _has_choice(node: Node) -> bool:
    match node:
        case Chars(ranges):
            return sum(high - low + 1 for low, high in ranges) > 1
        case Seq(parts) | Alt(parts):
            return any(map(_has_choice, parts))
        case Repeat(inner, _, high):
            return high != 0 and _has_choice(inner)
    return False
