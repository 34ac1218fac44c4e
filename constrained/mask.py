"""Rows of allowed-token bits: little-endian uint32 words, bit t % 32 of word t // 32 for token t."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

_LIKELY = 2
"""A word of rows that is rarely empty: most vocabularies begin with special tokens and the letters."""


def allocate(num_rows: int, words: int) -> NDArray[np.uint32]:
    """Masks [rows, words] that allow nothing."""
    return np.zeros((num_rows, words), np.uint32)


def from_ids(token_ids: Iterable[int], words: int) -> NDArray[np.uint32]:
    """One row that allows exactly these ids."""
    bits = np.zeros(words * 32, np.uint8)
    bits[list(token_ids)] = 1
    return np.packbits(bits, bitorder="little").view(np.uint32)


def to_ids(mask_W: NDArray[np.uint32]) -> list[int]:
    """The ids that a row allows, ascending."""
    return [int(i) for i in np.flatnonzero(np.unpackbits(mask_W.view(np.uint8), bitorder="little"))]


_FEW_WORDS = 64
"""That are looked at one by one sooner than together."""


class Few:
    """Some ids, looked up in rows: what a row allows of them, mostly none."""

    def __init__(self, token_ids: Sequence[int]) -> None:
        self._ids = np.array(token_ids, np.int64)
        self._words = self._ids >> 5
        self._bits = (1 << (self._ids & 31)).astype(np.uint32)
        by_word: dict[int, dict[int, int]] = {}
        for token_id in token_ids:
            by_word.setdefault(token_id >> 5, {})[1 << (token_id & 31)] = token_id
        self._by_word = [(word, sum(ids), ids) for word, ids in by_word.items()]

    def __len__(self) -> int:
        return len(self._ids)

    def in_row(self, mask_W: NDArray[np.uint32]) -> list[int]:
        """Those of the ids that the row allows."""
        if len(self._by_word) > _FEW_WORDS:
            hits = mask_W[self._words] & self._bits
            return self._ids[hits != 0].tolist() if hits.any() else []
        found: list[int] = []
        look = mask_W.item
        for word, bits, ids in self._by_word:
            allowed = look(word) & bits
            if allowed:
                found += [token_id for bit, token_id in ids.items() if allowed & bit]
        return found


def first_id(mask_W: NDArray[np.uint32]) -> int | None:
    """The lowest id that a row allows; None: it allows nothing."""
    words = np.flatnonzero(mask_W)
    if not words.size:
        return None
    word = mask_W.item(words[0])
    return int(words[0]) * 32 + (word & -word).bit_length() - 1


def is_empty(mask_W: NDArray[np.uint32]) -> bool:
    """Whether the row allows nothing. A fifth of what `any` takes, and mostly a look at one word."""
    return not (mask_W.item(_LIKELY % mask_W.size) or mask_W.item(mask_W.argmax()))


def allows(mask_W: NDArray[np.uint32], token_id: int) -> bool:
    """Whether the row allows the id."""
    return bool((mask_W.item(token_id >> 5) >> (token_id & 31)) & 1)
