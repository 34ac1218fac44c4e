"""The accounting identity, recomputed from the owners: free + tree + private + fenced = total, and no slot twice."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from ...radix_cache.node import Int32
from .state import State

logger = logging.getLogger(__name__)


def owned_slots(state: State) -> Int32:
    """Slots that the tree, running requests and the fence own."""
    rows = state.rows
    private = [rows.page_table[r.row, rows.shared[r.row] : rows.allocated[r.row]] for r in state.running]
    parts = [*state.cache.check(), *private, state.pool.fenced_slots()]
    return np.concatenate(parts) if parts else np.zeros(0, np.int32)


def check(state: State) -> None:
    """Raises AssertionError where the identity does not hold."""
    wrong, counts = _wrong_slots(state, owned_slots(state))
    assert not wrong.size, _told(wrong, counts)


def quick_check(state: State) -> bool:
    """The identity in counts alone, cheap enough for a server at work; logs where it does not hold."""
    rows = state.rows
    running = np.fromiter((request.row for request in state.running), np.int64, len(state.running))
    private = int((rows.allocated[running] - rows.shared[running]).sum())
    pool = state.pool
    owned = pool.free_len + state.cache.total_len + private + pool.fenced_len
    if owned != pool.num_slots:
        logger.error(
            "KV accounting is off: free %d + tree %d + private %d + fenced %d is not %d",
            pool.free_len, state.cache.total_len, private, pool.fenced_len, pool.num_slots,
        )  # fmt: skip
    return owned == pool.num_slots


def audit(state: State) -> None:
    """The whole check for a server that is idle: logs what is wrong and wins leaked slots back; never raises."""
    assert not state.running
    try:
        owned = owned_slots(state)
    except AssertionError as error:  # whose slots are whose, it cannot say either
        logger.error("the prefix cache is off: %s", error)
        return
    wrong, counts = _wrong_slots(state, owned)
    if wrong.size:
        logger.error("KV accounting is off: %s", _told(wrong, counts))
        won = state.pool.rebuild(owned)
        state.counters.kv_leaked_tokens_total += max(0, won)


def _wrong_slots(state: State, owned: Int32) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Slots that are not owned once, and how often each slot is."""
    counts = np.bincount(np.concatenate((owned, state.pool.free_slots())), minlength=state.pool.num_slots)
    return np.flatnonzero(counts != 1), counts


def _told(wrong: NDArray[np.int64], counts: NDArray[np.int64]) -> str:
    return f"slots owned not once: {[(int(s), int(counts[s])) for s in wrong[:8]]}"
