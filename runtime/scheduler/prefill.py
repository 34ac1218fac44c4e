"""Prompts: admitting requests, and computing what the cache does not hold in chunks."""

from __future__ import annotations

import numpy as np

from ...radix_cache.interface import Match
from ..messages import Finish
from ..model_runner.plan import ScorePlan
from ..request import Request, Status
from .batch import Batch, Score, Span
from .drafting import Drafting
from .leases import Lease
from .memory import Memory
from .queue import CACHED_COST, DECODE_COST, PREFILL_COST
from .sampling import logprob_ids
from .state import State

_MAX_MISFITS = 16
_MAX_PASSED = 16
_MAX_LOOKS = 64  # of a few microseconds each


class Prefill:
    """Adds spans to a batch. All methods that take `left`, the token budget that is left, return what then is left."""

    def __init__(self, state: State, memory: Memory, drafting: Drafting) -> None:
        self._state = state
        self._memory = memory
        self._drafting = drafting

    def continue_running(self, batch: Batch, left: int) -> int:
        """Forced tokens first (they hold up an answer that streams), then prompts in order of admission."""
        state, rows = self._state, self._state.rows
        behind = np.flatnonzero((rows.in_prompt | (rows.known - rows.computed > 1)) & ~rows.paused)
        if not behind.size:
            return left
        behind = behind[np.lexsort((rows.age[behind], rows.in_prompt[behind]))]
        for request in [state.by_row[row] for row in behind.tolist()]:
            assert request is not None
            if left <= 0:
                break
            if request.row >= 0:  # not retracted meanwhile
                left -= self._extend(batch, request, left)
        return left

    def admit(self, batch: Batch, left: int) -> None:
        """Waiting requests in the queue's order, siblings with the first of them.

        Who does not fit is skipped; but when 16 others went by, what becomes free is for it.
        """
        state = self._state
        self._look_again()
        misfits: list[Request] = []
        while left > 0 and state.rows.num_free and len(misfits) < _MAX_MISFITS:
            request = state.queue.pop(state.now_s)
            if request is None:
                break
            used = self._start(batch, request, left)
            if used is None:
                misfits.append(request)
                if request.times_retracted or request.is_starved or request.num_passed >= _MAX_PASSED:
                    break
                continue
            left -= used
            for passed in misfits:
                passed.num_passed += 1
            if misfits and misfits[0].num_passed >= _MAX_PASSED:
                break
            for sibling in state.queue.siblings(request):
                if not state.rows.num_free:
                    break
                state.queue.remove(sibling)
                used = self._start(batch, sibling, left)
                if used is None:
                    sibling.is_straggler = True  # its fork waits for it
                    misfits.append(sibling)
                else:
                    left -= used
        for request in misfits:
            state.queue.put_back(request)

    def _look_again(self) -> None:
        """Waiting requests and prefixes that programs will need, which grew or were evicted: some of them a step."""
        state, woken = self._state, self._state.cache.woken
        for _ in range(min(len(woken), _MAX_LOOKS)):
            waiter = woken.pop()
            if isinstance(waiter, Lease):
                state.leases.look_again(waiter, state.step)
            elif isinstance(waiter, Request) and waiter.status is Status.WAITING:
                state.queue.update(waiter, state.look_up(waiter))

    def _start(self, batch: Batch, request: Request, left: int) -> int | None:
        """Admits one request that left the queue; the tokens that it computes, None if it must wait."""
        state, cache = self._state, self._state.cache
        known, needed = request.ids.size, request.first_needed
        match = cache.match(request.ids, end=known, namespace=request.namespace, step=batch.step)
        source = batch.ends.get(match.node) if match.length == known == match.node.end else None
        if source is None or needed < known - 1 or request.scores_prompt or request.is_held:
            source = None
            match = cache.clip(match, needed)
        if match.length == known and source is None:  # cached whole, and nobody reads its last row
            request.cached_len = known if request.cached_len < 0 else request.cached_len
            self._count_prompt(request)
            state.queue.put_back(request)
            state.finish(request, Finish("length"))
            return 0
        if (left <= 0 and source is None) or not state.adapters.fits(request):
            return None
        handle = cache.lock(match, own=request.submit.parent_len)
        if not self._memory.fits(request, match.length):
            cache.unlock(handle)
            return None
        request.handle = handle
        self._enter_row(request, match)
        batch.touching.append(request)
        cache.write_slots(handle, state.rows.page_table[request.row], start=0)
        self._count_prompt(request)
        if source is None:
            return self._extend(batch, request, left)
        state.rows.in_prompt[request.row] = False
        self._read_last(batch, request, source)
        return 0

    def _enter_row(self, request: Request, match: Match) -> None:
        state, rows = self._state, self._state.rows
        row = rows.take()
        known = request.ids.size
        rows.ids[row, :known] = request.ids
        rows.known[row] = known - request.is_held
        rows.computed[row] = rows.settled[row] = rows.allocated[row] = rows.shared[row] = match.length
        rows.prompt[row] = request.prompt_len
        rows.limit[row] = request.prompt_len + request.max_new_tokens
        expected = state.estimator.expected_len(request, state.max_context)
        rows.expected[row] = max(known, request.prompt_len + expected)
        rows.in_prompt[row] = True
        rows.paused[row] = request.is_paused
        request.held_since_s = state.now_s if request.is_held and match.length == rows.known[row] else -1.0
        sampling = request.submit.sampling
        rows.checks_eos[row] = not sampling.ignore_eos
        rows.careful[row] = (
            request.submit.echo_steps
            or request.sample_fields is None
            or request.stops is not None
            or bool(sampling.stop_token_ids)
            or request.asks_logprobs
        )
        if request.cached_len < 0:
            request.cached_len = min(match.length, request.prompt_len)  # the rest: what a grammar forces first
            request.queue_s = state.now_s - request.arrival_s - request.grammar_s
            request.admitted_s = state.now_s
        state.start(request, row)
        uncached = known - match.length
        cost = PREFILL_COST * uncached + CACHED_COST * match.length
        if not request.times_retracted:
            cost += DECODE_COST * expected
        request.charged += cost
        state.queue.charge(request.client, cost, request.submit.program)

    def _count_prompt(self, request: Request) -> None:
        if not request.times_retracted:
            self._state.counters.prompt_tokens_total += request.prompt_len
            self._state.counters.cached_tokens_total += request.cached_len

    def _extend(self, batch: Batch, request: Request, left: int) -> int:
        """Computes up to `left` more of what it knows, and of what is guessed; 0 when there is no memory now."""
        state, rows, row = self._state, self._state.rows, request.row
        if rows.in_prompt[row]:
            self._skip_ahead(batch, request)
        page_size = state.cache.page_size
        known, start = int(rows.known[row]), int(rows.computed[row])
        count = min(known - start, left)
        if count <= 0:  # its grammar is not ready
            return 0
        allocated = int(rows.allocated[row])
        short = -(-(start + count) // page_size) * page_size - allocated
        if short > 0:
            while not self._memory.make_room(short):
                if request is not next(iter(state.running)) or not self._memory.retract_one(keep=set(batch.members())):
                    break
            room = state.pool.free_len - state.pool.free_len % page_size
            short = min(short, room)
            count = min(count, allocated + short - start)
            if count <= 0:
                return 0
            if short:
                rows.page_table[row, allocated : allocated + short] = state.pool.allocate(short)
                rows.allocated[row] = allocated + short
        span = Span(request, batch.num_tokens, start, count)
        batch.spans.append(span)
        batch.num_tokens += count
        rows.computed[row] = start + count
        if rows.in_prompt[row]:
            self._publish(batch, request)
            self._score(batch, span)
            self._hide(batch, span)
        if start + count == known and not request.is_held:
            rows.in_prompt[row] = False
            state.rows_changed = True
            last_row = span.first_row + count - 1
            handle = request.handle
            if handle is not None and handle.end == known:
                batch.ends.setdefault(handle, last_row)
            self._read_last(batch, request, last_row)
            count += self._drafting.extend(batch, request, left - count)
        return count

    def _read_last(self, batch: Batch, request: Request, packed_row: int) -> None:
        """The row of the last known token is computed in this step: draw from it, or whatever was asked."""
        is_prompt_end = self._state.rows.known[request.row] == request.prompt_len  # and not what a grammar forced
        if request.submit.want_hidden and is_prompt_end and not request.hidden and request not in batch.hiding:
            batch.hidden_rows.append(packed_row)
            batch.hiding.append(request)
        if not request.wants_no_token:
            batch.readers.append((request, packed_row))
            return
        batch.complete.append(request)
        logprobs = request.submit.logprobs
        if request.asks_logprobs and logprobs is not None:
            batch.scores.append(ScorePlan(packed_row, -1, max(1, logprobs.num_top), logprob_ids(request)))
            batch.scoring.append(Score(request, -1))

    def _skip_ahead(self, batch: Batch, request: Request) -> None:
        """Others may have computed what comes next since it last looked."""
        state, rows, row = self._state, self._state.rows, request.row
        handle = request.handle
        assert handle is not None
        computed, shared = int(rows.computed[row]), int(rows.shared[row])
        needed = min(request.first_needed, int(rows.known[row]) - 1)  # a running request computes something
        if needed <= computed or handle.end != shared:
            return
        if shared < computed and rows.settled[row] < computed:  # a step in flight reads what would be replaced
            return
        match = state.cache.extend(handle, rows.ids[row], end=needed, step=batch.step)
        if match.length <= computed:
            return
        state.pool.free(rows.page_table[row, shared : rows.allocated[row]])
        request.handle = state.cache.move(handle, match)
        batch.touching.append(request)
        state.cache.write_slots(request.handle, rows.page_table[row], start=shared)
        rows.computed[row] = rows.settled[row] = rows.allocated[row] = rows.shared[row] = match.length
        if not request.times_retracted:
            skipped = max(0, min(match.length, request.prompt_len) - computed)
            request.cached_len += skipped
            state.counters.cached_tokens_total += skipped

    def _publish(self, batch: Batch, request: Request) -> None:
        """Shares the whole pages computed so far."""
        state, rows, row = self._state, self._state.rows, request.row
        shared, computed = int(rows.shared[row]), int(rows.computed[row])
        whole = computed - computed % state.cache.page_size
        if whole <= shared or request.handle is None:
            return
        slots = rows.page_table[row, shared:whole]
        moved = state.cache.publish(request.handle, rows.ids[row, shared:whole], slots, step=batch.step)
        if moved is not None:
            request.handle = moved
            rows.shared[row] = whole

    def _score(self, batch: Batch, span: Span) -> None:
        """Row of position p scores the prompt's token p + 1."""
        request, first_row, start, count = span
        if not request.is_scoring:
            return
        logprobs = request.submit.logprobs
        assert logprobs is not None
        asked = logprob_ids(request)
        ids = self._state.rows.ids[request.row]
        end = min(request.prompt_len, start + count + 1)
        for position in range(max(request.scored_len, start + 1), end):
            row = first_row + position - 1 - start
            batch.scores.append(ScorePlan(row, int(ids[position]), logprobs.num_top, asked))
            batch.scoring.append(Score(request, position))
        request.scored_len = max(request.scored_len, end)

    def _hide(self, batch: Batch, span: Span) -> None:
        """The hidden state of the last prompt token, where a retracted request computes beyond it."""
        request, first_row, start, count = span
        last = request.prompt_len - 1
        if request.submit.want_hidden and not request.hidden and start <= last < start + count:
            batch.hidden_rows.append(first_row + last - start)
            batch.hiding.append(request)
