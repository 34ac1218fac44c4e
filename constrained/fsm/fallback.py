"""A pattern's tree in the words of llguidance's regexes, for patterns too large for our automata: same language."""

from __future__ import annotations

import re
from functools import lru_cache

from ...errors import GrammarTooLarge
from .charset import Ranges, complement
from .pattern import MAX_COUNT, Alt, Chars, Look, Node, Repeat, Seq, parse

MAX_NODES = 40_000
MAX_LENGTH = 4000  # parts one after the other: the engine's masks take 5 µs for each
_NOTHING = r"[^\x{0}-\x{10FFFF}]"
_COUNTS = {(0, None): "*", (1, None): "+", (0, 1): "?", (1, 1): ""}
_ESCAPE = re.compile(r"\\(?:x\{([0-9a-fA-F]{1,6})\}|.)", re.DOTALL)


def to_engine(node: Node) -> str:
    """The engine's spelling: every class as explicit ranges, so that nothing depends on its tables. It is short: the
    engine takes a quarter of a microsecond to read a character, in each of the places where a pattern stands.

    Raises GrammarTooLarge for lookarounds, which only our automata serve.
    """
    num_nodes, length = _measure(node)
    if num_nodes > MAX_NODES or length > MAX_LENGTH:
        raise GrammarTooLarge(f"the pattern has {num_nodes} parts, {length} in a row; at most {MAX_LENGTH} are served")
    return _write(node)


def from_engine(pattern: str) -> Node:
    """The tree of what the engine reads, where it and Python mean the same but by `\\x{…}`. Raises as `parse`."""
    return parse(_ESCAPE.sub(lambda found: f"\\U{int(found[1], 16):08x}" if found[1] else found[0], pattern))


def _measure(node: Node) -> tuple[int, int]:
    """How many parts a tree has, and how many at most one after the other, repetitions counted once."""
    if isinstance(node, Chars):
        return 1, 1
    if isinstance(node, Repeat | Look):
        num_nodes, length = _measure(node.node)
        return 1 + num_nodes, length
    num_nodes, length, is_row = 1, 0, isinstance(node, Seq)
    for child in node.parts if isinstance(node, Seq) else node.options:
        more, child_length = _measure(child)
        num_nodes += more
        length = length + child_length if is_row else max(length, child_length)
    return num_nodes, length


def _write(node: Node) -> str:
    match node:
        case Chars(ranges):
            return _class(ranges)
        case Seq(parts):
            return "".join(map(_write, parts)) or "(?:)"
        case Alt(options):
            return "(?:" + "|".join(map(_write, options)) + ")" if options else _NOTHING
        case Repeat(inner, low, high):
            if max(low, high or 0) > MAX_COUNT:
                raise GrammarTooLarge(f"a repetition of more than {MAX_COUNT} is not served")
            once = _write(inner)
            counted = f"{{{low}}}" if low == high else f"{{{low},{'' if high is None else high}}}"
            return (once if isinstance(inner, Chars) else f"(?:{once})") + _COUNTS.get((low, high), counted)
        case Look():
            raise GrammarTooLarge("a pattern with lookarounds or \\b must be small; simplify it", keyword="lookaround")
    raise AssertionError(node)


@lru_cache(maxsize=1024)
def _class(ranges: Ranges) -> str:
    if not ranges:
        return _NOTHING
    if len(ranges) == 1 and ranges[0][0] == ranges[0][1]:
        return _character(ranges[0][0])
    others = complement(ranges)
    if not others:
        return "(?s:.)"
    positive, negative = _members(ranges), _members(others)
    return f"[{positive}]" if len(positive) <= len(negative) else f"[^{negative}]"


def _members(ranges: Ranges) -> str:
    spelled = [(_character(low), _character(high), high - low) for low, high in ranges]
    return "".join(low + ("" if width == 0 else high if width == 1 else f"-{high}") for low, high, width in spelled)


def _character(code: int) -> str:
    """As it is spelled in a class too."""
    character = chr(code)
    if character.isascii() and (character.isalnum() or character == "_"):
        return character
    return f"\\x{code:02x}" if code < 0x100 else f"\\x{{{code:x}}}"
