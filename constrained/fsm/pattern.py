"""A regular expression as a tree, read by Python's own parser so that syntax and flags mean what `re` says."""

from __future__ import annotations

import math
import re
import sys
import warnings
from dataclasses import dataclass
from typing import Any

from ...errors import GrammarSyntaxError, GrammarTooLarge, UnsupportedGrammar
from . import charset
from .charset import Ranges

if sys.version_info >= (3, 11):
    from re import _constants as sre  # type: ignore[attr-defined]
    from re import _parser as sre_parse  # type: ignore[attr-defined]
else:
    import sre_constants as sre
    import sre_parse

MAX_PATTERN_CHARS = 20_000
MAX_COUNT = 100_000
"""Of one repetition: engines take no more."""
_WIDEST = 1 << 20
"""Characters up to which Python tells widths apart."""
MAX_SHORTEST = 100_000
"""Characters of the shortest text that matches: an engine would write it down before anything is drawn."""


@dataclass(frozen=True, slots=True)
class Chars:
    """One character of a set."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Seq:
    """One after the other; no parts: the empty string."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Alt:
    """One of these; no options: nothing matches."""

    options: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """`low` to `high` times; None: without end."""

    node: Node
    low: int
    high: int | None


@dataclass(frozen=True, slots=True)
class Look:
    """Matches no text, but demands that `node` matches (or not) what follows or, backwards, what precedes."""

    node: Node
    behind: bool
    negate: bool


Node = Chars | Seq | Alt | Repeat | Look

EMPTY = Seq(())
NOTHING = Alt(())
ANY = Chars(charset.ALL)
NEWLINE = Chars(((10, 10),))
NOT_NEWLINE = Chars(charset.complement(NEWLINE.ranges))
NOT_LINE_END = Chars(charset.complement(((10, 10), (13, 13), (0x2028, 0x2029))))
START = Look(ANY, behind=True, negate=True)
END = Look(ANY, behind=False, negate=True)
END_OR_LAST_NEWLINE = Look(Seq((Repeat(NEWLINE, 0, 1), END)), behind=False, negate=False)


def parse(pattern: str) -> Node:
    """The tree of `re.fullmatch(pattern, …)`. Raises as `read_tree`."""
    return strip_anchors(read_tree(pattern))


def read_tree(pattern: str, *, narrow: bool = False) -> Node:
    r"""The pattern as Python reads it, anchors and all.

    `narrow`: where ECMA-262 and Python differ, what both match: `\d`, `\w` and `\s` in ASCII, their complements in
    Unicode, no line end in `.`, and `$` at the end only.

    Raises GrammarSyntaxError (line, column) for what `re` refuses, UnsupportedGrammar for what is not regular, such as
    backreferences, and GrammarTooLarge.
    """
    if len(pattern) > MAX_PATTERN_CHARS:
        raise GrammarTooLarge(f"the pattern has {len(pattern)} characters; at most {MAX_PATTERN_CHARS} are taken")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # re's own advice about future syntax
            tree = sre_parse.parse(pattern)
        node = _Reader(narrow).sequence(tree, tree.state.flags)
        if MAX_SHORTEST < (shortest := shortest_len(node)) < math.inf:
            raise GrammarTooLarge(
                f"the shortest text that matches has {shortest} characters; at most {MAX_SHORTEST} are served"
            )
        return node
    except re.error as error:
        raise GrammarSyntaxError(
            f"not a regular expression: {error.msg} (line {error.lineno}, column {error.colno})",
            line=error.lineno,
            column=error.colno,
        ) from None
    except (RecursionError, MemoryError):
        raise GrammarTooLarge("the pattern is nested too deeply") from None
    except OverflowError as error:
        raise GrammarTooLarge(f"a repetition is too large: {error}") from None


_ATOMIC, _POSSESSIVE = (getattr(sre, name, None) for name in ("ATOMIC_GROUP", "POSSESSIVE_REPEAT"))
"""What never gives back what it took, from Python 3.11 on."""


class _Reader:
    """From the parser's operations to our tree."""

    def __init__(self, narrow: bool) -> None:
        self.narrow = narrow

    def sequence(self, operations: Any, flags: int) -> Node:
        parts = [self.node(op, value, flags) for op, value in operations]
        return parts[0] if len(parts) == 1 else Seq(tuple(parts))

    def node(self, op: Any, value: Any, flags: int) -> Node:
        if op is sre.LITERAL:
            return Chars(self._cased(((value, value),), flags))
        if op is sre.NOT_LITERAL:
            return Chars(charset.complement(self._cased(((value, value),), flags)))
        if op is sre.ANY:
            return ANY if flags & re.DOTALL else NOT_LINE_END if self.narrow else NOT_NEWLINE
        if op is sre.IN:
            return Chars(self._class(value, flags))
        if op is sre.BRANCH:
            return Alt(tuple(self.sequence(option, flags) for option in value[1]))
        if op is sre.SUBPATTERN:
            _, added, removed, inner = value
            return self.sequence(inner, (flags | added) & ~removed)
        if op in (sre.MAX_REPEAT, sre.MIN_REPEAT):
            low, high, inner = value
            return repeated(self.sequence(inner, flags), low, None if high is sre.MAXREPEAT else high)
        if op in (_ATOMIC, _POSSESSIVE) and (node := self._kept(op, value, flags)) is not None:
            return node
        if op in (sre.ASSERT, sre.ASSERT_NOT):
            direction, inner = value
            return Look(self.sequence(inner, flags), behind=direction < 0, negate=op is sre.ASSERT_NOT)
        if op is sre.AT:
            return self._at(value, flags)
        if op is sre.FAILURE:
            return NOTHING
        name = str(op).lower()
        what = "a reference to a group" if name.startswith("groupref") else name.replace("_", " ")
        if op in (_ATOMIC, _POSSESSIVE):
            why = "of what may have several lengths is not served; write it without what keeps it whole"
        else:
            why = "is not a regular language and cannot be enforced; write out what it may match"
        raise UnsupportedGrammar(f"{what} {why}", keyword=name)

    def _kept(self, op: Any, value: Any, flags: int) -> Node | None:
        """What never gives back what it took, as what demands that nothing more could have been taken.

        None: it cannot be said so. It can where all that is repeated has one length: how often it stands here, no
        choice within it changes.
        """
        if op is _ATOMIC:
            shortest, longest = value.getwidth()
            if shortest == longest < _WIDEST:
                return self.sequence(value, flags)
            if len(value) != 1 or value[0][0] is not sre.MAX_REPEAT:
                return None
            value = value[0][1]
        low, high, inner = value
        shortest, longest = inner.getwidth()
        if not 0 < shortest == longest < _WIDEST:
            return None
        node = self.sequence(inner, flags)
        no_more = Look(node, behind=False, negate=True)
        if high is sre.MAXREPEAT:
            return Seq((repeated(node, low, None), no_more))
        if low == high:
            return repeated(node, low, high)
        return Alt((repeated(node, high, high), Seq((repeated(node, low, high - 1), no_more))))

    def _cased(self, ranges: Ranges, flags: int) -> Ranges:
        ranges = charset.ranges_of(ranges)
        return charset.ignore_case(ranges, flags & re.ASCII) if flags & re.IGNORECASE else ranges

    def _class(self, items: Any, flags: int) -> Ranges:
        plain: list[tuple[int, int]] = []
        sets: list[tuple[int, int]] = []
        negate = False
        for op, value in items:
            if op is sre.NEGATE:
                negate = True
            elif op is sre.LITERAL:
                plain.append((value, value))
            elif op is sre.RANGE:
                plain.append(value)
            else:
                assert op is sre.CATEGORY
                sets += self._category(value, flags)
        ranges = charset.ranges_of([*self._cased(tuple(plain), flags), *sets])
        return charset.complement(ranges) if negate else ranges

    def _category(self, value: Any, flags: int) -> Ranges:
        name = str(value).lower().removeprefix("category_")
        ascii_only = re.ASCII if self.narrow and not name.startswith("not_") else flags & re.ASCII
        positive = charset.category(
            {"digit": r"\d", "space": r"\s", "word": r"\w"}[name.removeprefix("not_")], ascii_only
        )
        return charset.complement(positive) if name.startswith("not_") else positive

    def _at(self, value: Any, flags: int) -> Node:
        if value is sre.AT_BEGINNING and flags & re.MULTILINE:
            return Look(NOT_NEWLINE, behind=True, negate=True)
        if value in (sre.AT_BEGINNING, sre.AT_BEGINNING_STRING):
            return START
        if value is sre.AT_END and flags & re.MULTILINE:
            return Look(NOT_NEWLINE, behind=False, negate=True)
        if value is sre.AT_END:
            return END if self.narrow else END_OR_LAST_NEWLINE
        if value is sre.AT_END_STRING:
            return END
        word = Chars(charset.category(r"\w", flags & re.ASCII))
        sides: list[list[Node]] = [
            [Look(word, behind=True, negate=not before), Look(word, behind=False, negate=not after)]
            for before in (True, False)
            for after in (True, False)
            if (before != after) == (value is sre.AT_BOUNDARY)
        ]
        if value is not sre.AT_BOUNDARY:  # before Python 3.14 no place of the empty string is one
            sides[-1].append(Alt((Look(ANY, behind=True, negate=False), Look(ANY, behind=False, negate=False))))
        return Alt(tuple(Seq(tuple(side)) for side in sides))


def repeated(node: Node, low: int, high: int | None) -> Node:
    """`low` to `high` times the node; a repetition of a repetition as one, where every count between can be had."""
    if (low, high) == (1, 1):
        return node
    if not isinstance(node, Repeat) or not (low > 0 or node.low <= 1):
        return Repeat(node, low, high)
    # After n times: n·node.low to n·node.high of what it repeats; the next begins no later than one behind that.
    if node.high is not None and high != low and (max(low, 1) + 1) * node.low > max(low, 1) * node.high + 1:
        return Repeat(node, low, high)
    most = None if None in (high, node.high) else (high or 0) * (node.high or 0)
    if high == 0 or node.high == 0:
        most = 0
    if max(low * node.low, most or 0) > MAX_COUNT:
        return Repeat(node, low, high)
    return Repeat(node.node, low * node.low, most)


def strip_anchors(node: Node) -> Node:
    """Without the anchors that a full match satisfies anyway: ^ in front, $ at the end."""
    return _strip(_strip(node, 0), -1)


def _strip(node: Node, side: int) -> Node:
    if isinstance(node, Look) and node in ((START,) if side == 0 else (END, END_OR_LAST_NEWLINE)):
        return EMPTY
    if isinstance(node, Alt):
        return Alt(tuple(_strip(option, side) for option in node.options))
    if isinstance(node, Seq) and node.parts:
        edge = _strip(node.parts[side], side)
        if edge == EMPTY and node.parts[side] != EMPTY:
            rest = _strip(Seq(node.parts[1:] if side == 0 else node.parts[:-1]), side)
            return rest
        return Seq((edge, *node.parts[1:])) if side == 0 else Seq((*node.parts[:-1], edge))
    return node


def has_look(node: Node) -> bool:
    """Whether the tree looks ahead or behind."""
    match node:
        case Look():
            return True
        case Seq(children) | Alt(children):
            return any(map(has_look, children))
        case Repeat(inner, _, _):
            return has_look(inner)
        case _:
            return False


def shortest_len(node: Node) -> float:
    """Characters of the shortest text that matches, but for what lookarounds demand; infinite: none does."""
    match node:
        case Chars(ranges):
            return 1 if ranges else math.inf
        case Seq(parts):
            return sum(map(shortest_len, parts))
        case Alt(options):
            return min(map(shortest_len, options), default=math.inf)
        case Repeat(inner, low, _):
            return low * shortest_len(inner) if low else 0
        case Look():
            return 0
    raise AssertionError(node)


def char_sets(node: Node) -> set[Ranges]:
    """Every set of characters in the tree."""
    match node:
        case Chars(ranges):
            return {ranges}
        case Seq(children) | Alt(children):
            return set().union(*map(char_sets, children))
        case Repeat(inner, _, _) | Look(inner, _, _):
            return char_sets(inner)
    raise AssertionError(node)
