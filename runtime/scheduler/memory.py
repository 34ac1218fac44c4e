"""Finding slots: evict what nobody uses, then retract a running request rather than fail.

Retracted is who costs least to compute again for what it frees; what it computed stays in the cache, evictable from its
end. The oldest running request is never retracted, the oldest of a client only when no other is left, and no request
more than twice: after the second time it is admitted only when everything that runs fits at its full length, so
whatever is admitted later is there to be retracted first.
"""

from __future__ import annotations

import numpy as np

from ...radix_cache.node import Int32
from ..request import Request
from .state import State

_AGAIN = 64.0  # tokens of prefill that being queued and admitted once more is worth
_LINEAR_LEN = 4096.0  # context at which a token's attention costs about what the rest of it does
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

    def allocate(self, short: Int32, run: int) -> None:
        """Gives each of these rows `run` more slots, or a page where its table ends before; they are free."""
        rows, pool = self._state.rows, self._state.pool
        if not short.size:
            return
        start = rows.allocated[short]
        if run > pool.page_size and int(start.max()) + run > rows.width:
            run = pool.page_size
        slots = pool.allocate(run * short.size).reshape(short.size, run)
        rows.page_table[short[:, None], start[:, None] + np.arange(run, dtype=np.int32)] = slots
        rows.allocated[short] += run

    def retract_one(self, *, keep: set[Request]) -> bool:
        """Retracts one running request: not the oldest, none of `keep`, not a third time. False: there is none.

        Never beside a step in flight, which may end some of them: the next step then waits for it.
        """
        if self._state.in_flight >= 0:
            self._state.wants_settled = True
            return False
        running = list(self._state.running)
        oldest: dict[str, Request] = {}
        for request in running:
            oldest.setdefault(request.client, request)
        may = [request for request in running[1:] if request.times_retracted < 2 and request not in keep]
        candidates = [request for request in may if oldest[request.client] is not request] or may
        if not candidates:
            return False
        self._state.retract(min(reversed(candidates), key=self._cost))  # the youngest of equals
        return True

    def _cost(self, request: Request) -> float:
        """Of computing again what its retraction frees, per freed token."""
        rows, row = self._state.rows, request.row
        freed = int(rows.allocated[row] - rows.shared[row])
        node = request.handle
        while node is not None and node.lock == 1:  # nobody else's
            freed += node.key.size
            node = node.parent
        depth = int(rows.known[row]) - freed / 2
        return _AGAIN / max(freed, 1) + 1.0 + depth / _LINEAR_LEN

    def promised_len(self, *, at_most: bool = False) -> int:
        """Slots that the running requests are expected to take yet, with a page each for those that take more than was
        expected; at_most: that they can take at all.
        """
        state = self._state
        if not state.running:
            return 0
        rows = np.fromiter((request.row for request in state.running), np.int64, len(state.running))
        held = state.rows
        ends = held.limit[rows] if at_most else np.maximum(held.expected[rows], held.known[rows] + 1)
        page_size = state.cache.page_size
        ends = np.minimum(-(-ends // page_size) * page_size, held.width)
        stock = 0 if at_most else page_size * rows.size
        return int(np.maximum(ends - held.allocated[rows], 0).sum()) + stock

    def fits(self, request: Request, cached_len: int) -> bool:
        """Whether a waiting request may start, its first `cached_len` tokens being locked already."""
        state = self._state
        if not state.running:
            return True
        page_size = state.cache.page_size
        known = request.ids.size
        full = request.prompt_len + request.max_new_tokens
        expected = min(full, request.prompt_len + state.estimator.expected_len(request, state.max_context))
        need, slack = max(expected, known + 1), 0
        if request.times_retracted:  # more than was expected: let it grow as much again, and leave some room beside it
            need = full if request.times_retracted >= 2 else min(full, max(need, 2 * known - request.prompt_len))
            slack = state.pool.num_slots // 20
        need = -(-need // page_size) * page_size - cached_len
        promised = self.promised_len(at_most=request.times_retracted >= 2)
        return need + promised + slack <= self.available_len
