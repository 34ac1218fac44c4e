"""Drafted tokens as a tree: rows behind a request's last known token, each of which goes on from its parent's.

What comes next is drawn from every row, so one step tries several continuations. A tree that does not branch is a
chain, which every executor computes; one that branches needs an executor that masks by tree (`plan.TakesTrees`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...radix_cache.node import Int32


class Trial(NamedTuple):
    """What a step, or the text itself, told about a draft. Its first way goes by the first child of every token."""

    tried: int
    """Tokens of the first way that were looked at,"""
    right: int
    """and how many of them came."""
    branch: bool | None
    """Where the first way went wrong: whether another one was right; None: there was none."""


@dataclass(frozen=True, slots=True)
class TokenTree:
    """Tokens in an order in which parents come before their children."""

    ids: Int32
    parents: Int32 | None = None
    """Place of each one's parent, -1: it follows the last known token. None: a chain."""

    @property
    def size(self) -> int:
        return self.ids.size

    def first(self, num_tokens: int) -> TokenTree:
        """The first so many."""
        return TokenTree(self.ids[:num_tokens], None if self.parents is None else self.parents[:num_tokens])

    def only(self, places: Sequence[int]) -> TokenTree:
        """These tokens, of which each has its parent among them before it; a chain where they are one."""
        new = {place: i for i, place in enumerate(places)}
        above = [-1 if (parent := self.parent(place)) < 0 else new[parent] for place in places]
        parents = None if above == list(range(-1, len(above) - 1)) else np.array(above, np.int32)
        return TokenTree(self.ids[list(places)], parents)

    def chain(self) -> TokenTree:
        """The first way."""
        if self.parents is None:
            return self
        ways, place, places = self._children(), -1, list[int]()
        while place in ways:
            place = ways[place][0]
            places.append(place)
        return self.only(places)

    def parent(self, place: int) -> int:
        return place - 1 if self.parents is None else int(self.parents[place])

    def depths(self) -> Int32:
        """How many tokens each follows."""
        depths = np.arange(self.size, dtype=np.int32)
        if self.parents is not None:
            for place, parent in enumerate(self.parents.tolist()):
                depths[place] = depths[parent] + 1 if parent >= 0 else 0
        return depths

    def way_to(self, place: int) -> Int32:
        """The tokens from the first on that lead to this one, itself the last."""
        if self.parents is None:
            return self.ids[: place + 1]
        way = list[int]()
        while place >= 0:
            way.append(int(self.ids[place]))
            place = int(self.parents[place])
        return np.array(way[::-1], np.int32)

    def sees(self) -> NDArray[np.uint32]:
        """Bits for the row of the last known token and of each drafted one: bit j, it sees row j of these."""
        bits = [1]
        for place in range(self.size):
            bits.append(bits[self.parent(place) + 1] | (2 << place))
        return np.array(bits, np.uint32)

    def follow(self, place: int, ids: Int32) -> list[int]:
        """Places of the first of these ids, as far as they go on from `place` (-1: the last known token)."""
        if self.parents is None:
            expected = self.ids[place + 1 : place + 1 + ids.size]
            same = ids[: expected.size] == expected
            count = expected.size if same.all() else int(same.argmin())
            return list(range(place + 1, place + 1 + count))
        places = list[int]()
        for token in ids.tolist():
            here = np.flatnonzero((self.parents == place) & (self.ids == token))
            if not here.size:
                break
            place = int(here[0])
            places.append(place)
        return places

    def right(self, drawn: Int32) -> list[int]:
        """Places of the tokens that came. drawn: behind the last known token, and behind each of these."""
        if self.parents is None:
            same = drawn[:-1] == self.ids
            return list(range(self.size if same.all() else int(same.argmin())))
        places, place = list[int](), -1
        while found := self.follow(place, drawn[place + 1 : place + 2]):
            place = found[0]
            places.append(place)
        return places

    def trial(self, came: Sequence[int], num_known: int | None = None) -> Trial:
        """came: places of the tokens that came; num_known: how many tokens came in all, None: enough."""
        if self.parents is None:
            return Trial(self.size if num_known is None else min(self.size, num_known), len(came), None)
        ways, place, right, branch = self._children(), -1, 0, None
        while place in ways and right < len(came) and came[right] == ways[place][0]:
            place, right = came[right], right + 1
        if len(ways.get(place, ())) > 1 and (num_known is None or num_known > right):
            branch = len(came) > right
        tried = self.chain().size
        return Trial(tried if num_known is None else min(tried, num_known), right, branch)

    def _children(self) -> dict[int, list[int]]:
        children: dict[int, list[int]] = {}
        for place in range(self.size):
            children.setdefault(self.parent(place), []).append(place)
        return children
