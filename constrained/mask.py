"""Rows of allowed-token bits: little-endian uint32 words, bit t % 32 of word t // 32 for token t."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


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


def is_empty(mask_W: NDArray[np.uint32]) -> bool:
    """Whether the row allows nothing. A fifth of what `any` takes."""
    return not mask_W.item(mask_W.argmax())


def allows(mask_W: NDArray[np.uint32], token_id: int) -> bool:
    """Whether the row allows the id."""
    return bool((mask_W.item(token_id >> 5) >> (token_id & 31)) & 1)
