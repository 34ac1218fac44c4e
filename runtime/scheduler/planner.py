"""Builds a step: decode rows, then forced tokens, then prompts, under one budget of tokens."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, repeat

import numpy as np
from numpy.typing import NDArray

from ...radix_cache.node import EMPTY, Int32
from ..model_runner.plan import CAUSAL, SamplePlan, SharedPrefix, StepPlan
from ..request import Request
from .batch import NO_HIDDEN, Batch
from .drafting import Drafting
from .grammars import Grammars
from .groups import group_by_prefix
from .memory import RUN, Memory
from .prefill import Prefill
from .sampling import sample_plan
from .state import State

_ZERO = np.zeros(1, np.int64)


class Planner:
    """One per scheduler; a plan's buffers are valid until the build after the next: one step may be in flight."""

    def __init__(self, state: State, grammars: Grammars) -> None:
        self._state = state
        self._grammars = grammars
        self._memory = Memory(state)
        self._drafting = Drafting(state, self._memory)
        self._prefill = Prefill(state, self._memory, self._drafting)
        self._budget = state.config.chunked_prefill_size
        self._itl_target_s = 1e-3 * state.config.itl_target_ms
        self._rows: Int32 = EMPTY
        self._order: list[Request] = []
        """Those of the rows, some of which may have left."""
        self._groups: list[tuple[int, int, int]] = []
        self._turn = 0
        capacity = self._budget + 1
        self._buffers = [tuple(np.zeros(capacity, np.int32) for _ in range(3)) for _ in range(2)]
        self._counting: Int32 = np.arange(capacity + 1, dtype=np.int32)

    def build(self) -> tuple[Batch, StepPlan | None]:
        """The next step. The plan is None when nothing is to be computed (the batch may still hold completions).

        While a step is in flight its rows go on with what it draws, but for those that it will end by length.
        """
        state = self._state
        state.wants_settled = False
        batch = Batch(state.step)
        if not self._decode(batch):
            return batch, None
        left = self._budget - batch.num_tokens
        most = state.pace.prompt_budget(batch.num_tokens, self._itl_target_s)
        if most is not None:
            left = min(left, most)
        left = self._prefill.continue_running(batch, left)
        self._prefill.admit(batch, left)
        if batch.is_empty:
            return batch, None
        plan = self._plan(batch)
        state.step += 1
        return batch, plan

    def _decode(self, batch: Batch) -> bool:
        """Decode rows and their slots; retracts when memory is out. False: that must wait for the step in flight."""
        state, rows = self._state, self._state.rows
        page_size = state.cache.page_size
        while True:
            if state.rows_changed:
                self._arrange()
            every = self._rows
            ahead = rows.known[every] - rows.computed[every]
            goes = ahead == 1
            if state.in_flight >= 0:
                more = rows.known[every] + 1 < rows.limit[every]
                goes |= (ahead == 0) & (rows.drawn_in[every] == state.in_flight) & more
            goes &= ~(rows.in_prompt[every] | rows.paused[every])
            if np.count_nonzero(goes) > self._budget:
                goes = self._take_turns(goes)
            mine = every[goes]
            if not mine.size:
                return True
            short = mine[rows.computed[mine] >= rows.allocated[mine]]
            if not short.size:
                break
            run = max(page_size, RUN)
            if self._memory.available_len < 4 * run * short.size:
                run = page_size
            if self._memory.make_room(run * short.size):
                self._memory.allocate(short, run)
                break
            if not self._memory.retract_one(keep=set()):
                if state.wants_settled:
                    return False
                fit = state.pool.free_len // page_size  # the youngest wait a step
                short = short[np.argsort(rows.age[short])]
                self._memory.allocate(short[:fit], page_size)
                goes &= ~np.isin(every, short[fit:])
                mine = every[goes]
                break
        if mine.size == every.size:
            batch.decoding = self._order
        else:
            by_row = state.by_row
            batch.decoding = [request for row in mine.tolist() if (request := by_row[row]) is not None]
        drafts = self._drafting.choose(batch.decoding, mine.size, self._budget - mine.size)
        if drafts:  # these are spans
            goes &= ~np.isin(every, [request.row for request in drafts])
            mine = every[goes]
            batch.decoding = [request for request in batch.decoding if request not in drafts]
        batch.decode_rows = mine
        batch.num_tokens = mine.size
        for request, draft in drafts.items():
            self._drafting.add(batch, request, draft)
        if self._groups:
            ends = np.concatenate((_ZERO, np.cumsum(goes)))
            for first, end, length in self._groups:
                first, end = int(ends[first]), int(ends[end])
                if end - first > 1:
                    batch.groups.append(SharedPrefix(first, end, length))
        return True

    def _arrange(self) -> None:
        """The running rows, those neighbours that share a prefix. Rows that leave need no new arrangement."""
        state = self._state
        self._order, self._groups = group_by_prefix(list(state.running))
        self._rows = np.fromiter((request.row for request in self._order), np.int32, len(self._order))
        state.rows_changed = False

    def _take_turns(self, goes: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """More rows than budget: the oldest goes, the others in turn."""
        places = np.flatnonzero(goes)
        oldest = int(np.argmin(self._state.rows.age[self._rows[places]]))
        others = np.delete(places, oldest)
        turn = (np.arange(self._budget - 1) + self._turn) % others.size
        self._turn = (self._turn + self._budget - 1) % others.size
        chosen = np.zeros_like(goes)
        chosen[places[oldest]] = True
        chosen[others[turn]] = True
        return chosen

    def _plan(self, batch: Batch) -> StepPlan:
        rows = self._state.rows
        num_tokens, num_decode, num_spans = batch.num_tokens, len(batch.decoding), len(batch.spans)
        token_ids, positions, slots = (buffer[:num_tokens] for buffer in self._buffers[batch.step % 2])
        relay_rows = relay_samples = EMPTY
        tree = CAUSAL
        kv_lens = np.empty(num_decode + num_spans, np.int32)
        table_rows = np.empty(num_decode + num_spans, np.int32)
        query_start = np.empty(num_decode + num_spans + 1, np.int32)
        query_start[: num_decode + 1] = self._counting[: num_decode + 1]
        if num_decode:
            mine = batch.decode_rows
            at = rows.computed[mine]
            positions[:num_decode] = at
            token_ids[:num_decode] = rows.ids[mine, at]
            slots[:num_decode] = rows.page_table[mine, at]
            batch.decode_ends = kv_lens[:num_decode]
            kv_lens[:num_decode] = at + 1
            table_rows[:num_decode] = mine
            counters = (at + 1 - rows.prompt[mine]).tolist()
            rows.computed[mine] += 1
            if self._state.in_flight >= 0:
                relay_rows = np.flatnonzero(rows.drawn_in[mine] == self._state.in_flight).astype(np.int32)
                relay_samples = rows.draw[mine[relay_rows]]
            rows.drawn_in[mine] = batch.step
            rows.draw[mine] = self._counting[:num_decode]
            batch.samples[:0] = _decode_samples(batch, counters)
        for place, (request, first_row, start, count) in enumerate(batch.spans, num_decode):
            own, draft = count, batch.drafts.get(request)
            if draft is not None:
                count += draft.size
            end, row = start + count, request.row
            rows_of = slice(first_row, first_row + count)
            token_ids[rows_of] = rows.ids[row, start:end]
            positions[rows_of] = np.arange(start, end, dtype=np.int32)
            if draft is not None and draft.parents is not None:
                positions[first_row + own : first_row + count] = start + own + draft.depths()
                tree = np.zeros(num_tokens, np.uint32) if not tree.size else tree
                tree[rows_of] = draft.sees()
            slots[rows_of] = rows.page_table[row, start:end]
            kv_lens[place] = end
            table_rows[place] = row
            query_start[place + 1] = first_row + count
        for request, row in batch.readers:
            output_len = int(rows.known[request.row]) - request.prompt_len
            rows.drawn_in[request.row] = batch.step
            rows.draw[request.row] = len(batch.samples)
            batch.sampling.append(request)
            batch.samples.append(_careful_sample(batch, len(batch.samples), request, row, output_len))
            if batch.drafts and request in batch.drafts:
                _sample_drafts(batch, request, row, output_len)
        sequences = chain(batch.decoding, (span.request for span in batch.spans))
        adapters, adapters_B = self._state.adapters.of_step(sequences)
        masks, batch.fill_masks = self._grammars.masks(batch)
        batch.masks_MW = masks
        return StepPlan(
            step=batch.step,
            token_ids_T=token_ids,
            positions_T=positions,
            slots_T=slots,
            query_start_B1=query_start,
            kv_lens_B=kv_lens,
            table_rows_B=table_rows,
            page_table=rows.page_table,
            groups=batch.groups,
            samples=batch.samples,
            scores=batch.scores,
            masks_MW=masks,
            fill_masks=_with_penalties(batch) if batch.late else batch.fill_masks,
            hidden_rows=np.array(batch.hidden_rows, np.int32) if batch.hidden_rows else NO_HIDDEN,
            relay_rows=relay_rows,
            relay_samples=relay_samples,
            adapters=adapters,
            adapters_B=adapters_B,
            tree_T=tree,
        )


def _decode_samples(batch: Batch, counters: list[int]) -> list[SamplePlan]:
    """One for each decode row; `counters`: the output lengths."""
    plain = [fields for request in batch.decoding if (fields := request.sample_fields) is not None]
    if len(plain) == len(counters):  # no loop in Python but for what changes
        for row, (fields, output_len) in enumerate(zip(plain, counters, strict=True)):
            fields[0], fields[6] = row, output_len
        return list(map(tuple.__new__, repeat(SamplePlan), plain))
    samples: list[SamplePlan] = []
    for row, (request, output_len) in enumerate(zip(batch.decoding, counters, strict=True)):
        if request.sample_fields is not None:
            samples.append(sample_plan(request, row, output_len, -1))
        else:
            samples.append(_careful_sample(batch, row, request, row, output_len))
    return samples


def _careful_sample(batch: Batch, place: int, request: Request, row: int, output_len: int) -> SamplePlan:
    """samples[place], noted where its mask or penalties are filled in late."""
    mask_row = -1
    if request.matcher is not None:
        mask_row = len(batch.masked)
        batch.masked.append(request)
    if request.penalties is not None:
        batch.late.append((place, request, row, output_len, mask_row))
    return sample_plan(request, row, output_len, mask_row)


def _sample_drafts(batch: Batch, request: Request, row: int, output_len: int) -> None:
    """Behind each drafted token a draw as it would be made if the token had come."""
    draft = batch.drafts[request]
    for place, depth in enumerate(draft.depths().tolist()):
        mask_row = -1
        if request.matcher is not None:
            mask_row = len(batch.masked)
            batch.masked.append(request)
        batch.sampling.append(request)
        way = draft.way_to(place)
        batch.samples.append(sample_plan(request, row + 1 + place, output_len + 1 + depth, mask_row, drafted=way))


def _with_penalties(batch: Batch) -> Callable[[], None]:
    def fill_all() -> None:
        if batch.fill_masks is not None:
            batch.fill_masks()
        for place, request, row, output_len, mask_row in batch.late:
            batch.samples[place] = sample_plan(request, row, output_len, mask_row)

    return fill_all
