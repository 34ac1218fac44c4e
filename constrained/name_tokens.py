"""Tokens behind which a name of a JSON text may have been repeated, or another one may have begun.

Few tokens hold the quotation marks and commas that it takes, and how many it takes depends on the place. So most places
need no look at any token.
"""

from __future__ import annotations

import re

from .mask import Few
from .pieces import Pieces

_NAME = re.compile(rb'[,{].*".*"', re.DOTALL)
"""A whole name, where none was wanted before."""
_NAME_BEHIND_STRING = re.compile(rb'".*[,{].*".*"', re.DOTALL)
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*(?:"|\\?\Z)', re.DOTALL)
"""One that begins in a token, and perhaps ends there."""
_STRING_END = re.compile(rb'(?:[^"\\]|\\.)*(?:"|\\?\Z)', re.DOTALL)
_NEXT_BEHIND_STRING = re.compile(rb'".*,', re.DOTALL)
_ONE_NAME = re.compile(rb'[ \t\r\n]*"([^"\\]*)"[^"]*')
_NEXT = rb',[ \t\r\n]*(?:"([^"\\]*))?'
_END_AND_NEXT = re.compile(rb'[^"\\]*"[ \t\r\n]*' + _NEXT)
_REST_AND_NEXT = re.compile(rb'[^",{}\[\]\\]*' + _NEXT)
MAX_KNOWN = 8192  # rests of names whose tokens are remembered
MAX_KNOWN_BYTES = 64  # of one of them


class Beginning:
    """Tokens behind which a name may have begun, or comes next."""

    def __init__(self, tokens: list[tuple[bytes, int]], to_next: re.Pattern[bytes] | None = None) -> None:
        """`to_next`: of the whole text of those that surely lead to the next name of the same container."""
        by_begun: dict[bytes, list[int]] = {}
        others: list[int] = []
        for data, token_id in tokens:
            match = to_next.fullmatch(data) if to_next is not None else None
            (others if match is None else by_begun.setdefault(match[1] or b"", [])).append(token_id)
        self.to_next = [(begun, Few(token_ids)) for begun, token_ids in by_begun.items()]
        """By what begins of that name with them."""
        self.others = Few(others)


class NameTokens:
    """Of one vocabulary. Thread-safe."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces
        self._ending: dict[bytes, list[int]] = {}
        found = [(data, token_id) for data, token_id in pieces if b'"' in data or b"," in data]
        self.repeating_first = Few([t for data, t in found if data.count(b'"') >= 4])
        """They hold two names, where no open object holds one."""
        by_name: dict[bytes, list[int]] = {}
        others: list[int] = []
        for data, token_id in found:
            one = _ONE_NAME.fullmatch(data)
            if one is not None:
                by_name.setdefault(one[1], []).append(token_id)
            elif data.count(b'"') >= 2:
                others.append(token_id)
        self.whole = [(name, Few(token_ids)) for name, token_ids in by_name.items()]
        """They hold one name, where one comes next."""
        self.repeating_wanted = Few(others)
        """They hold several, or one that is not plain, there."""
        self.repeating = Few([t for data, t in found if _NAME.search(data)])
        """They hold a name, elsewhere outside of strings."""
        self.repeating_in_string = Few([t for data, t in found if _NAME_BEHIND_STRING.search(data)])
        """They end a string, and hold a name."""
        self.beginning_wanted = Beginning([(data, t) for data, t in found])
        """A name may have begun behind them, or comes next, where one is written or comes next."""
        outside = [(data, t) for data, t in found if _has_comma_outside(data)]
        self.beginning = Beginning(outside, _REST_AND_NEXT)
        """The same elsewhere outside of strings."""
        behind = [(data, t) for data, t in found if _has_comma_outside(_STRING_END.sub(b"", data, count=1))]
        self.beginning_in_string = Beginning(behind, _END_AND_NEXT)
        """The same in strings that are no names."""
        self.beginning_in_escape = Beginning([(data, t) for data, t in found if _NEXT_BEHIND_STRING.search(data)])
        """The same where an escape has begun in them."""

    def ending(self, rest: bytes) -> list[int]:
        """Tokens that begin with the rest of a name and its quotation mark; not to be changed."""
        known = self._ending.get(rest)
        if known is None:
            known = [t for _, t in self._pieces.beginning_with(rest + b'"')]
            if len(rest) <= MAX_KNOWN_BYTES:
                if len(self._ending) >= MAX_KNOWN:
                    self._ending.clear()
                self._ending[rest] = known
        return known


def _has_comma_outside(data: bytes) -> bool:
    """Whether a comma is outside of the strings in a text that begins outside of one."""
    return b"," in _STRING.sub(b"", data)
