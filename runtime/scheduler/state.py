"""What the scheduler's parts share: the one owner of every request, its row and its slots."""

from __future__ import annotations

import random
import secrets
from collections import OrderedDict
from collections.abc import Callable

import numpy as np

from ...constrained.sequence import SequenceMatcher
from ...radix_cache.interface import PrefixCache
from ...radix_cache.node import Int32, Node
from ...radix_cache.slot_pool import SlotPool
from ..config import EngineConfig
from ..kv_events import KvEvents
from ..messages import DraftCounts, Finish, Output
from ..request import Request, Status
from ..speculation.speculator import Speculator
from .adapters import Adapters
from .batch import Batch
from .counters import Counters
from .estimate import OutputEstimator
from .leases import LEASE_TIMEOUT_S, Leases
from .pace import Pace
from .queue import CACHED_COST, DECODE_COST, PREFILL_COST, WaitingQueue
from .rows import Rows


class State:
    """Plain fields; each part changes only what its module's docstring says."""

    def __init__(
        self,
        config: EngineConfig,
        cache: PrefixCache,
        *,
        max_context: int,
        vocab_size: int,
        eos_token_ids: frozenset[int],
        clock: Callable[[], float],
    ) -> None:
        self.config = config
        self.cache = cache
        self.pool: SlotPool = cache.pool
        self.max_context = max_context
        self.vocab_size = vocab_size
        self.eos_token_ids = eos_token_ids
        self.is_eos = np.zeros(vocab_size, bool)
        self.is_eos[[token for token in eos_token_ids if 0 <= token < vocab_size]] = True
        self.clock = clock
        self.now_s = clock()
        """The clock at the top of this step."""
        self.step = 1
        """Number of the next step to be planned; what lies in the cache before the first is ready in step 0."""
        self.in_flight = -1
        """The last step that was started and is not committed yet; -1: none."""
        self.halt: Int32 = np.zeros(1, np.int32)
        """Not 0 while something waits for the loop: a burst ends behind the step that runs."""
        self.wants_settled = False
        """The next step can be planned only when nothing is in flight: memory is to be won back."""
        self.rows = Rows(config.max_running_requests, max_context, cache.page_size)
        self.requests: dict[str, Request] = {}
        """Every request that is not finished, by id."""
        self.running: dict[Request, None] = {}
        """In order of admission."""
        self.by_row: list[Request | None] = [None] * config.max_running_requests
        self.rows_changed = True
        """Rows came, or share more than the planner remembers."""
        self.compiling: dict[Request, None] = {}
        """Requests, waiting or running, whose grammar is not ready."""
        self.queue = WaitingQueue(lpm=config.schedule_policy == "lpm")
        self.leases = Leases(cache)
        self.adapters = Adapters(None, max_in_step=1, wake=lambda: None)
        self.kv_events: KvEvents | None = None
        """Who publishes what happens in the cache, if somebody asked for it."""
        self.estimator = OutputEstimator()
        self.pace = Pace()
        self.speculator: Speculator | None = None
        self.counters = Counters(clock())
        self.outputs: list[Output] = []
        """What the next message tells."""
        self.finished_rids: OrderedDict[str, float] = OrderedDict()
        """When each request that ended lately did so."""
        self.num_seen = 0
        self.num_admitted = 0
        self._random = random.Random(config.random_seed) if config.random_seed is not None else None

    def draw_seed(self) -> int:
        """Unsigned 64 bits for a request that brings no seed."""
        return secrets.randbits(64) if self._random is None else self._random.getrandbits(64)

    def look_up(self, request: Request) -> int:
        """Tokens of a waiting request that the cache holds; it is told (`woken`) when that changes."""
        ids = request.ids
        match = self.cache.match(ids, end=request.first_needed, namespace=request.namespace, step=self.step)
        if self.config.schedule_policy == "lpm":
            request.bucket = self.cache.wait(match, ids, request)
        return match.length

    def measure(self, batch: Batch, seconds: float) -> None:
        """Learns from a step how long steps take; one that tries drafts is like no other."""
        if batch.drafts:
            return
        num_decode = len(batch.decoding)
        self.pace.add(num_decode, batch.num_tokens - num_decode, seconds)
        if self.pace.seconds_per_token:
            self.queue.prefill_tokens_per_s = 1.0 / self.pace.seconds_per_token

    # ---- one function makes each transition

    def start(self, request: Request, row: int) -> None:
        """WAITING → RUNNING on a row."""
        self._stop_waiting(request)
        request.status = Status.RUNNING
        request.row = row
        self.num_admitted += 1
        self.rows.age[row] = self.num_admitted
        self.running[request] = None
        self.adapters.enter(request)
        self.by_row[row] = request
        self.rows_changed = True

    def retract(self, request: Request) -> None:
        """RUNNING → WAITING because others need its memory."""
        request.times_retracted += 1
        self.counters.num_retracted_reqs += 1
        self.put_back(request)

    def put_back(self, request: Request) -> None:
        """RUNNING → WAITING: what committed steps computed stays as ordinary evictable cache."""
        if not request.is_held:
            request.ids = self.rows.ids[request.row, : self.rows.known[request.row]].copy()
        self._leave_row(request, insert=True)
        request.status = Status.WAITING
        request.waiting_since_s = self.now_s
        self.queue.add(request)

    def finish(self, request: Request, finish: Finish, *, insert: bool = True) -> None:
        """Any status → FINISHED, once; the last Output. `insert`: what was computed is sound and may be shared."""
        if request.status is Status.FINISHED:
            return
        self.report(request, finish)
        done = finish.type in ("stop", "length")
        keep = request.submit.keep if done else None
        if request.status is Status.RUNNING:
            ids = self.rows.ids[request.row, : self.rows.known[request.row]]
            output_len = ids.size - request.prompt_len
            if done and not request.wants_no_token:
                self.estimator.add(request, output_len)
            served = CACHED_COST * request.prompt_len + (PREFILL_COST - CACHED_COST) * (
                request.prompt_len - max(0, request.cached_len)
            )
            if done and self.speculator is not None:
                self.speculator.observe(request, ids)
            cost = served + DECODE_COST * output_len - request.charged
            self.queue.charge(request.client, cost, request.submit.program)
            if keep is not None:
                ids = ids.copy()
            node = self._leave_row(request, insert=insert)
            if keep is not None:
                self._keep(keep, request, ids, node)
        elif request.status is Status.WAITING:
            self.queue.remove(request)
            self._stop_waiting(request)
            if keep is not None:  # nothing was left to compute
                ids = request.ids
                node = self.cache.match(ids, end=ids.size, namespace=request.namespace, step=self.step).node
                self._keep(keep, request, ids, node)
        self.compiling.pop(request, None)
        request.status = Status.FINISHED
        request.matcher = request.stops = request.penalties = None
        del self.requests[request.rid]
        self.finished_rids[request.rid] = self.now_s
        self.finished_rids.move_to_end(request.rid)
        self.counters.finished(finish)

    def _keep(self, name: str, request: Request, ids: Int32, node: Node) -> None:
        submit = request.submit
        timeout_s, now_s = submit.keep_s or LEASE_TIMEOUT_S, self.now_s
        if submit.pin:
            self.leases.pin(name, ids, node, request.namespace, now_s, timeout_s=timeout_s)
        else:
            self.leases.keep(name, ids, node, request.namespace, now_s, timeout_s=timeout_s, steps=submit.next_use)

    def pause(self, request: Request, on: bool) -> None:
        """Its reader lags, or does no longer."""
        request.is_paused = on
        if request.status is Status.RUNNING:
            self.rows.paused[request.row] = on

    @staticmethod
    def _stop_waiting(request: Request) -> None:
        if request.bucket is not None:
            request.bucket.pop(request, None)
            request.bucket = None

    def _leave_row(self, request: Request, *, insert: bool) -> Node:
        """Gives back row, handle and slots; the node where the computed path ends in the cache.

        What a step in flight computes for it, it computes in vain: row and slots wait for that step.
        """
        rows, row, handle = self.rows, request.row, request.handle
        assert handle is not None
        shared, allocated, settled = int(rows.shared[row]), int(rows.allocated[row]), int(rows.settled[row])
        fence = self.in_flight if self.in_flight >= 0 and settled < rows.computed[row] else None
        whole = shared
        node = handle
        if insert:
            whole = max(shared, settled - settled % self.cache.page_size)
        if whole > shared:
            table = rows.page_table[row]
            node = self.cache.insert(handle, rows.ids[row, shared:whole], table[shared:whole])
        self.pool.free(rows.page_table[row, whole:allocated], fence=fence)
        self.cache.unlock(handle)
        if self.speculator is not None:
            self.speculator.forget(request)
        request.handle = None
        request.row = -1
        rows.give(row, fence=fence)
        del self.running[request]
        self.adapters.leave(request)
        self.by_row[row] = None
        return node

    def report(self, request: Request, finish: Finish | None) -> None:
        """Adds to the next message what the request got since it last reported."""
        first = request.prompt_len + request.reported_len
        # What a constraint may still take back is told once it cannot any more.
        num_open = 0
        if finish is None and request.matcher is not None:
            num_open = max(0, request.matcher.num_open - request.num_ahead)
        if request.status is Status.RUNNING:
            ids = self.rows.ids[request.row, first : self.rows.known[request.row] - num_open].tolist()
        else:
            ids = request.ids[first : request.ids.size - num_open].tolist()
        request.reported_len += len(ids)
        output = Output(request.rid, ids, request.prompt_len, max(request.cached_len, 0))
        output.finish = finish
        output.queue_s, output.prefill_s, output.grammar_s = request.queue_s, request.prefill_s, request.grammar_s
        output.mask_s = request.mask_s
        if request.forced_len:
            output.forced_len, request.forced_len = request.forced_len, 0
        if request.logprobs:
            told = len(request.logprobs) - num_open
            output.logprobs, request.logprobs = request.logprobs[:told], request.logprobs[told:]
        if request.prompt_logprobs:
            output.prompt_logprobs, request.prompt_logprobs = request.prompt_logprobs, []
        if request.hidden:
            output.hidden = request.hidden
        if request.num_verified:
            output.drafts = DraftCounts(request.num_verified, request.num_proposed, request.num_correct)
        if finish is not None and isinstance(request.matcher, SequenceMatcher):
            output.parts = [(end.begin, end.end, end.reason) for end in request.matcher.ends]
        self.outputs.append(output)
