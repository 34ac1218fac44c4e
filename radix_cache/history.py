"""What a cache remembers of prefixes that it evicted: when they were used, and how often.

Without it every prefix that comes back looks new, and a working set a little larger than the pool makes any recency
order fail (each prefix goes just before its next use). Keyed by the CRC of the path at every 64th token: a collision
costs a wrong guess about the future, never a wrong token.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from typing import NamedTuple

from .node import Int32

BLOCK = 64  # tokens between two remembered places of a path
_MIN_PLACES = 4096


class Past(NamedTuple):
    """Of one evicted place."""

    last_use: int
    interval: float
    hits: int


class History:
    """A bounded table of evicted places, oldest forgotten first."""

    def __init__(self, num_slots: int) -> None:
        """Remembers about sixteen pools' worth of tokens."""
        self._places: OrderedDict[int, Past] = OrderedDict()
        self._max_places = max(_MIN_PLACES, 16 * num_slots // BLOCK)

    def __len__(self) -> int:
        return len(self._places)

    def add(self, start: int, digest: int, ids: Int32, past: Past) -> None:
        """Of `ids`, which follow a path of `start` tokens with that digest, the last are evicted."""
        places = self._places
        for _, place in boundaries(start, digest, ids):
            places[place] = past
            places.move_to_end(place)
        while len(places) > self._max_places:
            places.popitem(last=False)

    def longest(self, start: int, digest: int, ids: Int32) -> tuple[int, Past] | None:
        """How many of `ids`, which follow a path of `start` tokens, were cached once, and their past."""
        found = None
        places = self._places
        if places:
            for end, place in boundaries(start, digest, ids):
                past = places.get(place)
                if past is None:
                    break
                found = end - start, past
        return found

    def clear(self) -> None:
        self._places.clear()


def boundaries(start: int, digest: int, ids: Int32) -> list[tuple[int, int]]:
    """(length of the path, its digest) at each multiple of BLOCK within ids, which follow `start` tokens."""
    at, places = 0, []
    for end in range(start - start % BLOCK + BLOCK, start + ids.size + 1, BLOCK):
        digest = zlib.crc32(ids[at : end - start].data, digest)
        places.append((end, digest))
        at = end - start
    return places
