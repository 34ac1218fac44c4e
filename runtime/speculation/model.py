"""Drafts from a small model of the same vocabulary: an executor with a KV pool and a radix tree of its own.

Drafting is ordinary decoding of the small model, a token a step for all requests at once, drawn with the request's own
seed and counter: where both models agree on the distribution they draw the same token, at any temperature.
"""

from __future__ import annotations

import logging
import time

import numpy as np

from ...radix_cache.node import EMPTY, Int32, Node
from ...radix_cache.slot_pool import SlotPool
from ...radix_cache.tree import RadixTree
from ..model_runner.plan import Executor, SamplePlan, StepPlan
from ..request import Request
from .costs import StepCosts
from .drafter import Draft, Track

logger = logging.getLogger(__name__)

_CATCH_UP = 512  # tokens of prompts that one call computes: longer ones are drafted for later


class _Held:
    """What the small model has computed of one request: K and V of fed[: computed], in slots that the row names."""

    __slots__ = ("allocated", "computed", "fed", "handle", "row", "shared")

    def __init__(self, row: int, handle: Node, fed: Int32, shared: int) -> None:
        self.row = row
        self.handle = handle
        self.fed = fed
        self.shared = self.computed = self.allocated = shared
        """[: shared] are the tree's; [: allocated] have slots."""


class ModelDrafter:
    """Its executor is used by nobody else."""

    name = "draft"
    is_free = False

    def __init__(self, executor: Executor, *, num_rows: int, max_context: int) -> None:
        """num_rows: requests that are drafted for at once. Longer contexts than max_context get no drafts."""
        self._executor = executor
        self._max_context = min(max_context, executor.num_slots)
        self._tree = RadixTree(SlotPool(executor.num_slots))
        self._pool = self._tree.pool
        self._table: Int32 = np.zeros((num_rows, self._max_context), np.int32)
        self._fed: Int32 = np.zeros((num_rows, self._max_context), np.int32)
        self._rows = list(range(num_rows - 1, -1, -1))
        self._held: dict[Track, _Held] = {}
        self._costs = StepCosts()
        self._num_steps = 0
        self._failed = False

    def propose(self, tracks: list[Track], num_tokens: int) -> list[Draft | None]:
        if self._failed:
            return [None] * len(tracks)
        try:
            return self._propose(tracks, num_tokens)
        except Exception:
            logger.exception("the draft model failed; it drafts no more")
            self._failed = True
            return [None] * len(tracks)

    def step_seconds(self, num_tracks: int) -> float:
        """Of a step of the small model; before the first one, a thousandth: it is tried."""
        return float(self._costs.curve(0)[num_tracks]) if self._num_steps else 1e-3

    def observe(self, request: Request, ids: Int32) -> None:
        """What it computed is in its tree already."""

    def forget(self, track: Track) -> None:
        held = self._held.pop(track, None)
        if held is None:
            return
        computed, shared = held.computed, held.shared
        slots = self._table[held.row]
        if computed > shared:
            self._tree.insert(held.handle, held.fed[shared:computed], slots[shared:computed])
        self._pool.free(slots[max(shared, computed) : held.allocated])
        self._tree.unlock(held.handle)
        self._rows.append(held.row)

    def flush(self) -> None:
        self._tree.flush()

    # ---- inside

    def _propose(self, tracks: list[Track], num_tokens: int) -> list[Draft | None]:
        going: list[tuple[int, Track, _Held]] = []
        left = _CATCH_UP
        for place, track in enumerate(tracks):
            held = self._hold(track)
            if held is None or left <= 0:
                continue
            ends = min(track.known, held.computed + left)
            if track.known + num_tokens > self._max_context or not self._allocate(held, track.known + num_tokens):
                self.forget(track)
                continue
            left -= ends - held.computed
            if ends < track.known:  # the rest of its prompt comes with later calls
                self._step([(track, held, ends)], draw=False)
            else:
                going.append((place, track, held))
        drafts: list[Draft | None] = [None] * len(tracks)
        if not going:
            return drafts
        drawn = np.empty((len(going), num_tokens), np.int32)
        for depth in range(num_tokens):
            drawn[:, depth] = self._step([(track, held, track.known + depth) for _, track, held in going], draw=True)
            for i, (_, track, held) in enumerate(going):
                held.fed[track.known + depth] = drawn[i, depth]
        for i, (place, _, _) in enumerate(going):
            drafts[place] = Draft(drawn[i], self.name)
        return drafts

    def _hold(self, track: Track) -> _Held | None:
        """What is held for the request, cut to what it still says; None where there is no place for it."""
        known, ids = track.known, track.ids
        if known > self._max_context:
            return None
        held = self._held.get(track)
        if held is None:
            if not self._rows:
                return None
            match = self._tree.match(ids, end=known - 1, namespace=track.request.submit.namespace)
            row = self._rows.pop()
            held = self._held[track] = _Held(row, self._tree.lock(match), self._fed[row], match.length)
            self._tree.write_slots(held.handle, self._table[row], start=0)
            held.fed[: match.length] = ids[: match.length]
        else:
            end = min(held.computed, known - 1)
            same = held.fed[held.shared : end] == ids[held.shared : end]
            held.computed = end if same.all() else held.shared + int(same.argmin())
        held.fed[held.computed : known] = ids[held.computed : known]
        return held

    def _allocate(self, held: _Held, length: int) -> bool:
        short = length - held.allocated
        if short > 0:
            if self._pool.free_len < short:
                self._tree.evict(short - self._pool.free_len)
            if self._pool.free_len < short:
                return False
            self._table[held.row, held.allocated : length] = self._pool.allocate(short)
            held.allocated = length
        return True

    def _step(self, parts: list[tuple[Track, _Held, int]], *, draw: bool) -> Int32:
        """Computes fed[computed : end] of each; the next token of each where `draw`."""
        counts = [end - held.computed for _, held, end in parts]
        starts = np.zeros(len(parts) + 1, np.int32)
        np.cumsum(counts, out=starts[1:])
        spans = [(held.row, slice(held.computed, end)) for _, held, end in parts]
        plan = StepPlan(
            step=self._num_steps,
            token_ids_T=np.concatenate([self._fed[row, span] for row, span in spans]),
            positions_T=np.concatenate([np.arange(span.start, span.stop, dtype=np.int32) for _, span in spans]),
            slots_T=np.concatenate([self._table[row, span] for row, span in spans]),
            query_start_B1=starts,
            kv_lens_B=np.array([end for _, _, end in parts], np.int32),
            table_rows_B=np.array([held.row for _, held, _ in parts], np.int32),
            page_table=self._table,
            samples=[
                _sample(track.request, int(starts[i + 1]) - 1, end) for i, (track, _, end) in enumerate(parts) if draw
            ],
        )
        begun = time.perf_counter()
        drawn = self._executor.execute(plan).token_ids_S
        self._num_steps += 1
        if int(starts[-1]) == len(parts):
            self._costs.add(len(parts), 0, time.perf_counter() - begun)
        for _, held, end in parts:
            held.computed = end
        return drawn


def _sample(request: Request, row: int, num_tokens: int) -> SamplePlan:
    """The draw that the large model makes behind `num_tokens` tokens, but for masks and penalties."""
    counter = num_tokens - request.prompt_len
    tail = (-1, *request.bias, EMPTY, EMPTY, 0.0, 0.0, 1.0, -1, EMPTY)
    return tuple.__new__(SamplePlan, (row, *request.sample_head, counter, *tail))
