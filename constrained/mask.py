"""Rows of allowed-token bits: little-endian uint32 words, bit t % 32 of word t // 32 for token t."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence

import llguidance
import numpy as np
from numpy.typing import NDArray

from .guidance import GuidanceMatcher
from .matcher import Matcher

SERIAL_ROWS = 32
PARALLEL_CORES = 4
"""Below this many rows or cores one thread is as fast as the pool: 16 rows take 85 µs serially, 82 µs in a pool of two;
on two busy cores 64 rows took 0.7 ms serially and 7 ms in the pool."""

_pool = threading.local()


def allocate(num_rows: int, words: int) -> NDArray[np.uint32]:
    """Masks [rows, words] that allow nothing."""
    return np.zeros((num_rows, words), np.uint32)


def fill_rows(matchers: Sequence[Matcher | None], masks_RW: NDArray[np.uint32]) -> None:
    """Fills row i from matcher i; None (an unconstrained request) allows every id of the row.

    A matcher that fails leaves an empty row and says why in its `error`; the other rows are filled.
    """
    if len(matchers) < SERIAL_ROWS or (os.cpu_count() or 1) < PARALLEL_CORES:
        for matcher, mask_W in zip(matchers, masks_RW, strict=False):
            _fill(matcher, mask_W)
        return
    pooled = [(m, i) for i, m in enumerate(matchers) if isinstance(m, GuidanceMatcher) and m.can_fill_raw]
    if pooled and masks_RW.flags.c_contiguous:
        executor = getattr(_pool, "executor", None)
        if executor is None:
            executor = _pool.executor = llguidance.LLExecutor()
        executor.unsafe_compute_mask_ptr(
            [(m.raw, i) for m, i in pooled], masks_RW.ctypes.data, masks_RW.shape[1] * 4, len(masks_RW)
        )
    else:
        pooled = []
    filled = set()
    for matcher, row in pooled:
        matcher.finish_raw(masks_RW[row])
        filled.add(row)
    for row, other in enumerate(matchers):
        if row not in filled:
            _fill(other, masks_RW[row])


def _fill(matcher: Matcher | None, mask_W: NDArray[np.uint32]) -> None:
    if matcher is None:
        mask_W.fill(0xFFFFFFFF)
    else:
        matcher.fill(mask_W)


def from_ids(token_ids: Iterable[int], words: int) -> NDArray[np.uint32]:
    """One row that allows exactly these ids."""
    bits = np.zeros(words * 32, np.uint8)
    bits[list(token_ids)] = 1
    return np.packbits(bits, bitorder="little").view(np.uint32)


def to_ids(mask_W: NDArray[np.uint32]) -> list[int]:
    """The ids that a row allows, ascending."""
    return [int(i) for i in np.flatnonzero(np.unpackbits(mask_W.view(np.uint8), bitorder="little"))]


def allows(mask_W: NDArray[np.uint32], token_id: int) -> bool:
    """Whether the row allows the id."""
    return bool((int(mask_W[token_id // 32]) >> (token_id % 32)) & 1)
