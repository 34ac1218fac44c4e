"""Finite sets of strings as patterns: the strings themselves, and every string but these.

The complement is written along the tree of the strings' beginnings, so that it grows with their letters alone.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..fsm import charset
from ..fsm.charset import Ranges, ranges_of
from ..fsm.pattern import ANY, EMPTY, Alt, Chars, Node, Repeat, Seq

ANYTHING = Repeat(ANY, 0, None)
MAX_LISTED = 2000
MAX_SET = 8  # characters of one set that are written out

_Tree = dict[str, "_Tree"]
_END = ""  # in a tree: a string ends here


def literal(text: str) -> Node:
    """The tree of one string."""
    return Seq(tuple(Chars(((ord(c), ord(c)),)) for c in text))


def inside(strings: Iterable[str]) -> Node:
    """These strings, written along the tree of their beginnings."""
    return _inside(_tree_of(strings))


def _inside(tree: _Tree) -> Node:
    options: list[Node] = [EMPTY] if _END in tree else []
    for character, below in tree.items():
        if character == _END:
            continue
        text = character
        while len(below) == 1 and _END not in below:  # a row of characters with one way on
            ((character, below),) = below.items()
            text += character
        rest = _inside(below)
        options.append(literal(text) if rest == EMPTY else Seq((literal(text), rest)))
    return options[0] if len(options) == 1 else Alt(tuple(options))


def outside(strings: Iterable[str], *, as_beginnings: bool = False) -> Node:
    """Every string but these; `as_beginnings`: and but those that begin with one of these."""
    return _outside(_tree_of(strings), as_beginnings)


def _tree_of(strings: Iterable[str]) -> _Tree:
    root: _Tree = {}
    for text in strings:
        node = root
        for character in text:
            node = node.setdefault(character, {})
        node[_END] = {}
    return root


def _outside(tree: _Tree, as_beginnings: bool) -> Node:
    if _END in tree and as_beginnings:
        return Alt(())
    following = [character for character in tree if character != _END]
    others = charset.complement(ranges_of([(ord(c), ord(c)) for c in following])) if following else ANY.ranges
    options: list[Node] = [] if _END in tree else [EMPTY]
    options.append(Seq((Chars(others), ANYTHING)))
    options += [Seq((literal(c), rest)) for c in following if (rest := _outside(tree[c], as_beginnings)) != Alt(())]
    return Alt(tuple(options))


def listed(tree: Node) -> list[str] | None:
    """The strings that a tree matches, if they are few and can be written out."""
    match tree:
        case Chars(ranges):
            return _members(ranges)
        case Alt(options):
            found: list[str] = []
            for option in options:
                inner = listed(option)
                if inner is None or len(found) + len(inner) > MAX_LISTED:
                    return None
                found += inner
            return found
        case Seq(parts):
            return _joined([listed(part) for part in parts])
        case Repeat(inner, 0, 1):
            once = listed(inner)
            return None if once is None else ["", *once]
        case Repeat(inner, low, high) if low == high and low <= MAX_SET:
            return _joined([listed(inner)] * low)
    return None


def _joined(parts: list[list[str] | None]) -> list[str] | None:
    found = [""]
    for part in parts:
        if part is None or len(found) * len(part) > MAX_LISTED:
            return None
        found = [before + after for before in found for after in part]
    return found


def _members(ranges: Ranges) -> list[str] | None:
    if sum(high - low + 1 for low, high in ranges) > MAX_SET:
        return None
    return [chr(code) for low, high in ranges for code in range(low, high + 1)]
