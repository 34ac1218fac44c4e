"""Gives the cache what running requests have generated so far, so that a long answer is shared while it runs.

A fork from a running stream, a continuation of its text and drafts that follow the tree find it; an abort loses little.
A few rows a step, in turn: a batch that began together does not pay together.
"""

from __future__ import annotations

import numpy as np

from .state import State

CHECKPOINT = 64  # tokens that a row may have for itself
_MAX_ROWS = 2  # a step: each costs about 20 us


def checkpoint(state: State) -> None:
    """Called when a step is committed."""
    rows = state.rows
    due = np.flatnonzero(rows.settled - rows.shared >= CHECKPOINT)
    if not due.size or state.config.disable_radix_cache:
        return
    for at in range(min(_MAX_ROWS, due.size)):
        _share(state, int(due[(_MAX_ROWS * state.step + at) % due.size]))


def _share(state: State, row: int) -> None:
    rows, request = state.rows, state.by_row[row]
    if request is None or request.handle is None:
        return
    shared, end = int(rows.shared[row]), int(rows.settled[row])
    if request.matcher is not None:  # what a constraint may still take back stays the row's own
        end = min(end, int(rows.known[row]) - request.matcher.num_open)
    end -= end % state.cache.page_size
    if end - shared < CHECKPOINT or request.handle.end != shared:
        return
    fence = state.in_flight if state.in_flight >= 0 else None
    slots = rows.page_table[row, shared:end]
    moved = state.cache.grow(request.handle, rows.ids[row, shared:end], slots.copy(), fence=fence)
    if moved is not None:
        request.handle = moved
        state.cache.write_slots(moved, rows.page_table[row], start=shared)
        rows.shared[row] = end
