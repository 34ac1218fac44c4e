"""Sets of Unicode characters as sorted ranges. Surrogates are in no set: UTF-8 cannot write them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache, lru_cache

import numpy as np

Ranges = tuple[tuple[int, int], ...]
"""Code points, first and last, ascending, with gaps between."""

LAST = 0x10FFFF
LAST_CASED = 0x1FFFF  # no character beyond has another case
SURROGATES = (0xD800, 0xDFFF)
ALL: Ranges = ((0, SURROGATES[0] - 1), (SURROGATES[1] + 1, LAST))


def ranges_of(pairs: Iterable[tuple[int, int]]) -> Ranges:
    """Any ranges, sorted and joined, without surrogates."""
    joined: list[tuple[int, int]] = []
    for low, high in sorted(pairs):
        if joined and low <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(joined[-1][1], high))
        else:
            joined.append((low, high))
    result: list[tuple[int, int]] = []
    for low, high in joined:
        if high < SURROGATES[0] or low > SURROGATES[1]:
            result.append((low, high))
            continue
        if low < SURROGATES[0]:
            result.append((low, SURROGATES[0] - 1))
        if high > SURROGATES[1]:
            result.append((SURROGATES[1] + 1, high))
    return tuple(result)


@lru_cache(maxsize=512)
def complement(ranges: Ranges) -> Ranges:
    """Every character that is not in `ranges`."""
    gaps: list[tuple[int, int]] = []
    next_low = 0
    for low, high in ranges:
        if low > next_low:
            gaps.append((next_low, low - 1))
        next_low = high + 1
    if next_low <= LAST:
        gaps.append((next_low, LAST))
    return ranges_of(gaps)


def _every_character() -> str:
    """Made anew for each set, in milliseconds: it takes 4 MiB."""
    points = np.arange(LAST + 1, dtype="<u4").tobytes()
    return points[: 4 * SURROGATES[0]].decode("utf-32-le") + points[4 * SURROGATES[1] + 4 :].decode("utf-32-le")


@cache
def category(escape: str, flags: int) -> Ranges:
    r"""What `\w`, `\d` or `\s` matches, by asking `re` itself about every character."""
    offset = SURROGATES[1] - SURROGATES[0] + 1
    found = []
    for match in re.finditer(f"{escape}+", _every_character(), flags & re.ASCII):
        low, high = match.start(), match.end() - 1
        if low < SURROGATES[0] <= high:
            found += [(low, SURROGATES[0] - 1), (SURROGATES[1] + 1, high + offset)]
        elif low >= SURROGATES[0]:
            found.append((low + offset, high + offset))
        else:
            found.append((low, high))
    return ranges_of(found)


@cache
def _cased_characters() -> str:
    """Characters that have another case: the only ones that ignoring case can add to a set."""
    every = _every_character()[: LAST_CASED + 1]
    return "".join(c for c in every if c.lower() != c or c.upper() != c or c.casefold() != c)


@cache
def ignore_case(ranges: Ranges, flags: int) -> Ranges:
    """The characters that `re` matches with a class of `ranges` when it ignores case."""
    pattern = "[" + "".join(f"\\U{low:08x}-\\U{high:08x}" for low, high in ranges) + "]"
    added = re.findall(pattern, _cased_characters(), re.IGNORECASE | (flags & re.ASCII)) if ranges else []
    return ranges_of([*ranges, *((ord(c), ord(c)) for c in added)])
