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
_NEXT_BEHIND_STRING = re.compile(rb'".*,', re.DOTALL)
_ONE_NAME = re.compile(rb'[ \t\r\n]*"([^"\\]*)"[^"]*')
MAX_KNOWN = 8192  # rests of names whose tokens are remembered
MAX_KNOWN_BYTES = 64  # of one of them


class NameTokens:
    """Of one vocabulary. Thread-safe."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces
        self._ending: dict[bytes, list[int]] = {}
        found = [(data, token_id, data.count(b'"')) for data, token_id in pieces if b'"' in data or b"," in data]
        self.repeating_first = Few([t for data, t, quotes in found if quotes >= 4])
        """They hold two names, where no open object holds one."""
        self.repeating_wanted = Few([t for data, t, quotes in found if quotes >= 2])
        """They hold a name, where one comes next."""
        self.repeating = Few([t for data, t, _ in found if _NAME.search(data)])
        """They hold a name, elsewhere outside of strings."""
        self.repeating_in_string = Few([t for data, t, _ in found if _NAME_BEHIND_STRING.search(data)])
        """They end a string, and hold a name."""
        self.name_of = {t: one[1] for data, t, _ in found if (one := _ONE_NAME.fullmatch(data))}
        """The one name that a token holds where one comes next."""
        self.beginning_wanted = Few([t for _, t, _ in found])
        """A name may have begun behind them, or comes next, where one is written or comes next."""
        self.beginning = Few([t for data, t, _ in found if b"," in data])
        """The same elsewhere outside of strings."""
        self.beginning_in_string = Few([t for data, t, _ in found if _NEXT_BEHIND_STRING.search(data)])
        """The same in strings that are no names."""

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
