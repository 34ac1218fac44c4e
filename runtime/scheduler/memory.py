"""Finding slots: evict what nobody uses, then retract the youngest running request rather than fail.

The oldest running request is never retracted, and no request more than twice: after the second time it is admitted only
when everything that runs fits at its full length, so whatever is admitted later is there to be retracted first.
"""

from __future__ import annotations

import numpy as np

from ..request import Request
from .state import State

RUN = 16  # slots that a decoding row takes at once while memory is plentiful: its K and V then lie in runs


class Memory:
    """Slots for the step that is being built."""

    def __init__(self, state: State) -> None:
        self._state = state

    @property
    def available_len(self) -> int:
        """Free or evictable."""
        return self._state.pool.free_len + self._state.cache.evictable_len

    def make_room(self, num_tokens: int) -> bool:
        """Evicts until that many slots are free; False where nothing is left to evict."""
        pool = self._state.pool
        if pool.free_len < num_tokens:
            self._state.cache.evict(num_tokens - pool.free_len)
        return pool.free_len >= num_tokens

    def retract_one(self, *, keep: set[Request]) -> bool:
        """Retracts the youngest running request that may be: not the oldest, none of `keep`, not a third time.

        Never beside a step in flight, which may end some of them: the next step then waits for it.
        """
        if self._state.in_flight >= 0:
            self._state.wants_settled = True
            return False
        running = list(self._state.running)
        for request in reversed(running[1:]):
            if request.times_retracted < 2 and request not in keep:
                self._state.retract(request)
                return True
        return False

    def promised_len(self, *, at_most: bool = False) -> int:
        """Slots that the running requests are expected to take yet; at_most: that they can take at all."""
        state = self._state
        if not state.running:
            return 0
        rows = np.fromiter((request.row for request in state.running), np.int64, len(state.running))
        held = state.rows
        ends = held.limit[rows] if at_most else np.maximum(held.expected[rows], held.known[rows] + 1)
        page_size = state.cache.page_size
        ends = np.minimum(-(-ends // page_size) * page_size, held.width)
        return int(np.maximum(ends - held.allocated[rows], 0).sum())

    def fits(self, request: Request, cached_len: int) -> bool:
        """Whether a waiting request may start, its first `cached_len` tokens being locked already."""
        state = self._state
        if not state.running:
            return True
        page_size = state.cache.page_size
        known = request.ids.size
        full = request.prompt_len + request.max_new_tokens
        expected = min(full, request.prompt_len + state.estimator.expected_len(request, state.max_context))
        need = max(expected, known + 1)
        if request.times_retracted:
            slack = state.pool.num_slots // 20
            if request.times_retracted >= 2:
                need = full
        else:
            slack = 0
        need = -(-need // page_size) * page_size - cached_len
        promised = self.promised_len(at_most=request.times_retracted >= 2)
        return need + promised + slack <= self.available_len
