"""The accounting identity, recomputed from the owners: free + tree + private + fenced = total, and no slot twice."""

from __future__ import annotations

import logging

import numpy as np

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
    everything = np.concatenate((owned_slots(state), state.pool.free_slots()))
    counts = np.bincount(everything, minlength=state.pool.num_slots)
    wrong = np.flatnonzero(counts != 1)
    assert not wrong.size, f"slots owned not once: {[(int(s), int(counts[s])) for s in wrong[:8]]}"


def audit(state: State) -> bool:
    """The check for a server: logs and counts what is wrong, and wins leaked slots back; never raises."""
    try:
        check(state)
    except AssertionError as error:
        logger.error("KV accounting is off: %s", error)
        if not state.running:
            won = state.pool.rebuild(owned_slots(state))
            state.counters.kv_leaked_tokens_total += max(0, won)
        return False
    return True
