"""The places at which the parts of a structural tag stand, and which may come after which: Glushkov's construction."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..fsm.pattern import Alt, Repeat, Seq
from ..grammar.regular import is_nullable
from .body import Body, Document, Lexeme, Text, Token

Atom = Lexeme | Text | Document | Token


class _Ends(NamedTuple):
    """Of a part: whether it may be empty, and the places that begin and end it."""

    is_empty: bool
    first: frozenset[int]
    last: frozenset[int]


class Places:
    """Of one body."""

    def __init__(self, body: Body) -> None:
        self.atoms: list[Atom] = []
        """What stands at each place."""
        self.follow: list[set[int]] = []
        """By place those that may come after it."""
        self.start = self._read(body).first

    def after(self, places: Any) -> frozenset[int]:
        """Those that may come after these."""
        return frozenset().union(*(self.follow[p] for p in places))

    def _read(self, body: Any) -> _Ends:
        match body:
            case Seq(parts):
                ends = _Ends(True, frozenset(), frozenset())
                for part in parts:
                    after = self._read(part)
                    self._join(ends.last, after.first)
                    ends = _Ends(
                        ends.is_empty and after.is_empty,
                        ends.first | after.first if ends.is_empty else ends.first,
                        after.last | ends.last if after.is_empty else after.last,
                    )
                return ends
            case Alt(options):
                read = [self._read(option) for option in options]
                return _Ends(
                    any(one.is_empty for one in read),
                    frozenset().union(*(one.first for one in read)),
                    frozenset().union(*(one.last for one in read)),
                )
            case Repeat(inner, low, high):
                once = self._read(inner)
                if high != 1:
                    self._join(once.last, once.first)
                return _Ends(low == 0 or once.is_empty, once.first, once.last)
        place = frozenset({len(self.atoms)})
        self.atoms.append(body)
        self.follow.append(set())
        return _Ends(isinstance(body, Lexeme) and is_nullable(body.tree), place, place)

    def _join(self, last: frozenset[int], first: frozenset[int]) -> None:
        for place in last:
            self.follow[place] |= first
