"""Patterns whose words begin with a repetition, so that the engine sees at once that whole sets of tokens fit.

It looks for a repetition with room for a set (`guidance._slices`). In `[a-z][a-z0-9-]*` it finds a single letter, and
tries each word of the vocabulary; with `[a-z]+` beside it, as one of two alternatives, a mask takes a tenth of that.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from ...errors import GrammarError
from ..fsm.charset import Ranges, ranges_of
from ..fsm.fallback import from_engine, to_engine
from ..fsm.pattern import Alt, Chars, Node, Repeat, Seq
from .patterns import REMEMBERED, tree_written

LETTERS: Ranges = ((ord("a"), ord("z")),)
"""Of each of the engine's sets of words."""
MIN_MORE = 9
"""Characters after the first that a set of words needs room for."""
_SOME = {
    "uri": "^[a-z]+:$",
    "email": r"^[a-zA-Z0-9_\x2d]+(?:\.[a-zA-Z0-9_\x2d]+)*@[a-z]+(?:\.[a-z]+)*$",
    "hostname": r"^[a-z]{1,63}(?:\.[a-z]{1,63}){0,2}$",
}
"""Strings that surely are of a format, which begin with a repetition wherever the engine's own pattern goes on with one
character and more: with these as an alternative a mask takes a third there."""
_WRITTEN = re.compile(r"\^\(\?:(.*)\)\$")
"""With what `engine_pattern` writes: in that, Python and the engine agree."""
_OTHER = re.compile(r"\\(?!x)")


@lru_cache(maxsize=REMEMBERED)
def written_tree(pattern: str) -> Node | None:
    """The tree that `engine_pattern` wrote; None: it did not, or it is too large."""
    known = tree_written(pattern)
    if known is not None:
        return known
    written = _WRITTEN.fullmatch(pattern)
    if written is None or _OTHER.search(written[1]):
        return None
    try:
        return from_engine(written[1])
    except GrammarError:
        return None


@lru_cache(maxsize=REMEMBERED)
def roomy_pattern(pattern: str) -> str:
    """The same texts, of a `pattern` in the engine's words."""
    tree = written_tree(pattern)
    if tree is None or (changed := roomy(tree)) == tree:
        return pattern
    try:
        return f"^(?:{to_engine(changed)})$"
    except GrammarError:
        return pattern


def with_roomy_format(schema: Any) -> Any:
    """The same strings, of a schema that says nothing but their format."""
    if isinstance(schema, dict) and schema.keys() == {"type", "format"} and schema["type"] == "string":
        some = _SOME.get(schema["format"])
        if some is not None:
            return {"anyOf": [schema, {"type": "string", "pattern": some}]}
    return schema


def roomy(tree: Node) -> Node:
    """The same texts, with repetitions beside what begins with one character of a set that goes on with more of it."""
    match tree:
        case Alt(options):
            return Alt(tuple(map(roomy, options)))
        case Repeat(inner, low, high):
            return Repeat(roomy(inner), low, high)
        case Seq():
            parts = list(_flat(tree))
            made: list[Node] = []
            while parts:
                part = parts.pop(0)
                again = _again(part, parts[0]) if parts and isinstance(part, Chars) else None
                if again is None:
                    made.append(roomy(part))
                else:
                    made.append(Alt((again, Seq((part, parts.pop(0))))))
            return Seq(tuple(made))
    return tree


def _again(first: Chars, more: Node) -> Repeat | None:
    """As many of `first` as surely are one and then `more`; None where that is no room for words."""
    if not isinstance(more, Repeat) or not _holds(first, LETTERS):
        return None
    low, high = more.low + 1, more.high
    match more:
        case Repeat(Chars() as others, _, _):
            last = others
        case Repeat(Seq((Repeat(Chars() as others, 0, high), Chars() as last)), 0, 1):  # as in `\w(?:[\w-]*\w)?`
            high = None if high is None else high + 1
        case _:
            return None
    if not _holds(others, first.ranges) or not _holds(last, first.ranges) or (high is not None and high < MIN_MORE):
        return None
    return Repeat(first, low, None if high is None else high + 1)


def _holds(one: Chars, ranges: Ranges) -> bool:
    return ranges_of([*one.ranges, *ranges]) == ranges_of(one.ranges)


def _flat(tree: Seq) -> list[Node]:
    return [part for child in tree.parts for part in (_flat(child) if isinstance(child, Seq) else [child])]
