"""Drafts in a step: behind its last known token a request computes tokens that the speculator guesses.

Their ids lie behind `known` and their K and V behind `computed`, in slots of the request's own: as long as nobody
accepts them nobody sees them, and what is rejected is overwritten by the next step.
"""

from __future__ import annotations

from ..request import Request
from ..speculation.token_tree import TokenTree
from .batch import Batch, Span
from .memory import Memory
from .state import State


class Drafting:
    """Adds drafts to a batch; none while a step is in flight, whose draws they would have to follow."""

    def __init__(self, state: State, memory: Memory) -> None:
        self._state = state
        self._memory = memory

    def choose(self, requests: list[Request], num_rows: int, room: int) -> dict[Request, TokenTree]:
        """What is tried in a step of `num_rows` rows: drafts that pay, that grammars allow and slots exist for."""
        state = self._state
        speculator = state.speculator
        if speculator is None or state.in_flight >= 0 or room <= 0:
            return {}
        drafts = speculator.plan(requests, num_rows, room)
        return {request: cut for request, draft in drafts.items() if (cut := self._cut(request, draft)).size}

    def add(self, batch: Batch, request: Request, draft: TokenTree) -> None:
        """A decoding request with its draft, as a span."""
        rows, row = self._state.rows, request.row
        start = int(rows.computed[row])
        batch.spans.append(Span(request, batch.num_tokens, start, 1))
        batch.readers.append((request, batch.num_tokens))
        batch.num_tokens += 1
        rows.computed[row] = start + 1
        self._append(batch, request, draft)

    def extend(self, batch: Batch, request: Request, room: int) -> int:
        """A draft behind the span that was just added, which ends with the request's last known token; its length."""
        if request.wants_no_token:
            return 0
        draft = self.choose([request], batch.num_tokens, room).get(request)
        if draft is None:
            return 0
        if batch.spans[-1].length > 1:
            draft = draft.chain()  # a tree begins with its sequence's first row
        self._append(batch, request, draft)
        return draft.size

    def _append(self, batch: Batch, request: Request, draft: TokenTree) -> None:
        rows, row = self._state.rows, request.row
        known = int(rows.known[row])
        rows.ids[row, known : known + draft.size] = draft.ids
        batch.drafts[request] = draft
        batch.num_tokens += draft.size
        batch.must_settle = True

    def _cut(self, request: Request, draft: TokenTree) -> TokenTree:
        if request.matcher is not None:
            draft = draft.first(request.matcher.would_accept(draft.ids.tolist()))
        return draft.first(self._slots(request, draft.size))

    def _slots(self, request: Request, num_tokens: int) -> int:
        """For how many of the tokens there are slots: free or evicted ones, but not the last, which others need."""
        state, rows, row = self._state, self._state.rows, request.row
        page_size = state.cache.page_size
        known, allocated = int(rows.known[row]), int(rows.allocated[row])
        short = -(-(known + num_tokens) // page_size) * page_size - allocated
        if short > 0:
            kept = page_size * len(state.running)
            if self._memory.available_len < short + kept or not self._memory.make_room(short):
                return max(0, min(num_tokens, allocated - known))
            rows.page_table[row, allocated : allocated + short] = state.pool.allocate(short)
            rows.allocated[row] = allocated + short
        return num_tokens
