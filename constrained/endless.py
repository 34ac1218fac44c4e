"""Whether what a grammar forces surely ends: llguidance follows forced bytes without a limit of its own.

Its lexer is greedy: where a lexeme can go on with a byte, no other begins there. So a lexeme that goes round in a loop
whose every byte is the only one is forced for ever once all that may follow begins as the loop does, as `/(ab)+/`
before `"ax"`. A loop with a choice in it, any class of two characters, is never forced: whatever leads to the class
within the loop is what is forced, so the class comes.
"""

from __future__ import annotations

import re

from ..errors import GrammarError
from .fsm.pattern import Alt, Chars, Look, Node, Repeat, Seq, parse

_HEAD = re.compile(r"%llguidance \{\}")
_CLASS = r"\[\^?(?:\\x\{[0-9A-Fa-f]{1,6}\}-\\x\{[0-9A-Fa-f]{1,6}\})+\]"
_TERMINAL = re.compile(rf"[A-Z_][A-Z0-9_]*: /((?:\(\?:|\)|\||\{{\d+,\d*\}}|{_CLASS})*)/")
"""With what `to_engine` writes: in that, Python and the engine agree."""
_JSON = re.compile(r"[a-z_][a-z0-9_]*: %json \{.*\}")
_RULE = re.compile(r"[a-z_][a-z0-9_]*: [^/%]*")
_CODE = re.compile(r"\\x\{([0-9a-fA-F]{1,6})\}")


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
    """Of a Lark grammar in the plain form that `lang` writes: a terminal is one regex, on a line of its own, a rule
    refers to terminals and rules or is a JSON schema. False for whatever else there is."""
    return all(_is_finite(line) for line in lark.splitlines() if line)


def _is_finite(line: str) -> bool:
    if _HEAD.fullmatch(line) or _JSON.fullmatch(line) or _RULE.fullmatch(line):
        return True
    terminal = _TERMINAL.fullmatch(line)
    if terminal is None:
        return False
    try:
        return not may_be_endless(parse(_CODE.sub(lambda code: f"\\U{int(code[1], 16):08x}", terminal[1])))
    except GrammarError:
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
