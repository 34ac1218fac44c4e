"""A pattern's tree in the words of llguidance's regexes, for patterns too large for our automata: same language."""

from __future__ import annotations

from ...errors import GrammarTooLarge
from .charset import Ranges
from .pattern import Alt, Chars, Look, Node, Repeat, Seq

MAX_REPEAT = 100_000


def to_engine(node: Node) -> str:
    """The engine's spelling: every class as explicit ranges, so that nothing depends on its tables.

    Raises GrammarTooLarge for lookarounds, which only our automata serve.
    """
    match node:
        case Chars(ranges):
            return _class(ranges)
        case Seq(parts):
            return "(?:" + "".join(map(to_engine, parts)) + ")"
        case Alt(options):
            return "(?:" + "|".join(map(to_engine, options)) + ")" if options else r"[^\x{0}-\x{10FFFF}]"
        case Repeat(inner, low, high):
            if max(low, high or 0) > MAX_REPEAT:
                raise GrammarTooLarge(f"a repetition of more than {MAX_REPEAT} is not served")
            return f"(?:{to_engine(inner)}){{{low},{'' if high is None else high}}}"
        case Look():
            raise GrammarTooLarge("a pattern with lookarounds or \\b must be small; simplify it", keyword="lookaround")
    raise AssertionError(node)


def _class(ranges: Ranges) -> str:
    if not ranges:
        return r"[^\x{0}-\x{10FFFF}]"
    return "[" + "".join(f"\\x{{{low:x}}}-\\x{{{high:x}}}" for low, high in ranges) + "]"
