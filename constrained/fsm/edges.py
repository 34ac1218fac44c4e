"""Lookarounds at one character, such as `\\b` or `(?!-)`, written into what stands beside them.

A demand on the next or the last character narrows the first or the last set that may match it, which costs nothing;
as an automaton it doubles the states. What cannot be written so stays as it is.
"""

from __future__ import annotations

from . import charset
from .charset import Ranges
from .pattern import EMPTY, NOTHING, Alt, Chars, Look, Node, Repeat, Seq, has_look

MAX_WAYS = 64  # alternatives that are taken apart because they look around
MAX_SEQUENCES = 2000  # written, those on the way included
MAX_NODES = 20_000


def without_edges(tree: Node) -> Node:
    """The same strings as a whole, with fewer lookarounds."""
    if not has_look(tree):
        return tree
    ways = _ways(tree)
    writer = _Writer()
    found = None if ways is None else _all([writer.written(way) for way in ways])
    return tree if found is None or _size(found) > MAX_NODES else found


def _ways(node: Node) -> list[list[Node]] | None:
    """Sequences of which one matches: groups and alternatives that look around taken apart. None: too many."""
    if not has_look(node) or isinstance(node, Look):
        return [[node]]
    if isinstance(node, Alt):
        found: list[list[Node]] = []
        for option in node.options:
            ways = _ways(option)
            if ways is None or len(found) + len(ways) > MAX_WAYS:
                return None
            found += ways
        return found
    if isinstance(node, Seq):
        found = [[]]
        for part in node.parts:
            ways = _ways(part)
            if ways is None or len(found) * len(ways) > MAX_WAYS:
                return None
            found = [before + after for before in found for after in ways]
        return found
    if isinstance(node, Repeat) and (node.low, node.high) in ((0, 1), (1, 1)):
        ways = _ways(node.node)
        return None if ways is None else [*([[]] if node.low == 0 else []), *ways]
    return None


class _Writer:
    """Writes one tree; gives up where that takes too long."""

    def __init__(self) -> None:
        self.left = MAX_SEQUENCES

    def written(self, parts: list[Node]) -> Node | None:
        """A sequence without lookarounds; None where one asks for more than a character."""
        self.left -= 1
        for i, part in enumerate(parts):
            if not isinstance(part, Look):
                continue
            if not isinstance(part.node, Chars) or self.left < 0:
                return None
            before, after = parts[:i], parts[i + 1 :]
            narrowed = _narrowed(before if part.behind else after, part)
            if narrowed is None:
                return None
            return _all([self.written([*way, *after] if part.behind else [*before, *way]) for way in narrowed])
        return NOTHING if NOTHING in parts else parts[0] if len(parts) == 1 else Seq(tuple(parts))


def _all(options: list[Node | None]) -> Node | None:
    """One of these; None where one is not known."""
    known = [option for option in options if option is not None]
    if len(known) < len(options):
        return None
    kept = tuple(dict.fromkeys(option for option in known if option != NOTHING))
    return kept[0] if len(kept) == 1 else Alt(kept)


def _narrowed(beside: list[Node], look: Look) -> list[list[Node]] | None:
    """What stands on the side at which `look` looks, so that it is satisfied: one of these sequences."""
    assert isinstance(look.node, Chars)
    ranges = charset.complement(look.node.ranges) if look.negate else look.node.ranges
    found = _touching(beside, ranges, behind=look.behind)
    if found is None:
        return None
    if look.negate:  # also where there is no character
        empty = [_empty(part) for part in beside]
        if NOTHING not in empty:
            found.append([part for part in empty if part != EMPTY])
    return found


def _touching(parts: list[Node], ranges: Ranges, *, behind: bool) -> list[list[Node]] | None:
    """The sequence where its character next to the place is one of `ranges`, as alternatives; there must be one."""
    found: list[list[Node]] = []
    order = range(len(parts) - 1, -1, -1) if behind else range(len(parts))
    passed: list[Node] = []  # what matches nothing between the place and the character
    for i in order:
        part = parts[i]
        if not isinstance(part, Look):
            if has_look(part):
                return None
            narrowed = _edge(part, ranges, behind=behind)
            if narrowed != NOTHING:
                found.append([*parts[:i], narrowed, *passed] if behind else [*passed, narrowed, *parts[i + 1 :]])
        empty = _empty(part)
        if empty == NOTHING:
            break
        if empty != EMPTY:
            passed = [empty, *passed] if behind else [*passed, empty]
    return found


def _edge(node: Node, ranges: Ranges, *, behind: bool) -> Node:
    """The node's strings that have a first (behind: last) character, one of `ranges`."""
    match node:
        case Chars(own):
            both = _shared(own, ranges)
            return Chars(both) if both else NOTHING
        case Alt(options):
            kept = [found for option in options if (found := _edge(option, ranges, behind=behind)) != NOTHING]
            return kept[0] if len(kept) == 1 else Alt(tuple(kept))
        case Seq(parts):
            ways = _touching(list(parts), ranges, behind=behind) or []
            sequences = [Seq(tuple(way)) if len(way) != 1 else way[0] for way in ways]
            return sequences[0] if len(sequences) == 1 else Alt(tuple(sequences))
        case Repeat(inner, low, high):
            if high == 0:
                return NOTHING
            once = _edge(inner, ranges, behind=behind)
            if once == NOTHING:
                return NOTHING
            others = Repeat(inner, max(0, low - 1), None if high is None else high - 1)
            if others.high == 0:
                return once
            return Seq((others, once)) if behind else Seq((once, others))
    raise AssertionError(node)


def _empty(node: Node) -> Node:
    """What is left of the node where it matches no character: lookarounds, EMPTY, or NOTHING."""
    match node:
        case Chars():
            return NOTHING
        case Look():
            return node
        case Seq(parts):
            inner = [_empty(part) for part in parts]
            kept = tuple(part for part in inner if part != EMPTY)
            return NOTHING if NOTHING in inner else Seq(kept) if len(kept) != 1 else kept[0]
        case Alt(options):
            found = tuple(dict.fromkeys(e for option in options if (e := _empty(option)) != NOTHING))
            return EMPTY if EMPTY in found else found[0] if len(found) == 1 else Alt(found)
        case Repeat(inner, low, _):
            return EMPTY if low == 0 else _empty(inner)
    raise AssertionError(node)


def _shared(one: Ranges, other: Ranges) -> Ranges:
    found: list[tuple[int, int]] = []
    i = j = 0
    while i < len(one) and j < len(other):
        low, high = max(one[i][0], other[j][0]), min(one[i][1], other[j][1])
        if low <= high:
            found.append((low, high))
        if one[i][1] < other[j][1]:
            i += 1
        else:
            j += 1
    return tuple(found)


def _size(node: Node) -> int:
    match node:
        case Seq(children) | Alt(children):
            return 1 + sum(map(_size, children))
        case Repeat(inner, _, _) | Look(inner, _, _):
            return 1 + _size(inner)
    return 1
