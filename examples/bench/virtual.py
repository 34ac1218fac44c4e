"""An engine on a virtual clock, whose steps cost no time: the scheduler and the cache as they are, and a log of both.

What follows from it is a matter of counting: hit rates, waits, and, with offline_optimum.py, what a cache that knows
the future would have reused for the same admissions.
"""

from __future__ import annotations

import time

import numpy as np
from offline_optimum import Call

from radixlang.runtime.config import EngineConfig
from radixlang.runtime.messages import Control, Outputs, Submit
from radixlang.runtime.model_runner.plan import StepOutput
from radixlang.runtime.sampling_params import SamplingParams
from radixlang.runtime.scheduler.audit import check
from radixlang.runtime.scheduler.queue import STARVED_PREFILLS, STARVED_S
from radixlang.runtime.scheduler.scheduler import Scheduler

STEP_S, TOKEN_S = 2e-3, 25e-6
VOCAB = 32000


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class CostExecutor:
    """Draws a function of the token before; costs virtual time only."""

    vocab_size, hidden_size, device, kv_bytes_per_token = VOCAB, 1, "virtual", 1

    def __init__(self, num_slots, clock):
        self.num_slots, self.clock, self.num_tokens = num_slots, clock, 0
        self.nothing = [None] * 4096
        self.hidden = np.zeros((0, 1), np.float32)

    def execute(self, plan):
        self.num_tokens += plan.token_ids_T.size
        self.clock.now += STEP_S + TOKEN_S * plan.token_ids_T.size
        rows = np.fromiter((sample.row for sample in plan.samples), np.int64, len(plan.samples))
        tokens = (plan.token_ids_T[rows] * 7 + plan.positions_T[rows]) % VOCAB
        return StepOutput(tokens.astype(np.int32), self.nothing[: rows.size], [], self.hidden)

    def close(self):
        pass


class NoTokenizer:
    vocab_size = VOCAB


MAX_RUNNING = 8
LONGEST = 4096
ORDERS = {
    "ours": ("lpm", "program-gdsf", True),
    "ours, programs unknown": ("lpm", "program-gdsf", False),
    "fcfs + lru": ("fcfs", "lru", False),
}


class VirtualEngine:
    """`slots`: of the pool. Notes admissions and ends (`events`) and what was asked (`calls`), for a Replay."""

    def __init__(self, slots, order):
        self.clock = Clock()
        self.executor = CostExecutor(slots, self.clock)
        schedule_policy, eviction, self.tells = ORDERS[order]
        config = EngineConfig(
            schedule_policy=schedule_policy, radix_eviction_policy=eviction, max_running_requests=MAX_RUNNING,
            max_queued_requests=10**6, speculative_algorithm="none",
        )  # fmt: skip
        self.scheduler = Scheduler(
            config, self.executor, NoTokenizer(), None, self.receive, max_context=LONGEST,
            eos_token_ids=frozenset(), clock=self.clock,
        )  # fmt: skip
        self.open, self.events, self.calls, self.numbers = {}, [], [], {}
        self.num_sent = self.num_done = self.num_failed = 0
        self.longest_wait_s = self.longest_over_s = 0.0
        start = self.scheduler._state.start
        self.begun = time.process_time()

        def started(request, row):
            if request.rid not in self.numbers:
                self.numbers[request.rid] = len(self.calls)
                self.events.append((True, len(self.calls)))
                self.calls.append(None)
            start(request, row)

        self.scheduler._state.start = started

    def submit(self, rid, ids, max_new_tokens, then, **fields):
        """`then(ids of the whole path)` is called at its end. With a parent, what follows it alone is sent."""
        self.num_sent += 1
        self.open[rid] = (ids, then)
        self.scheduler.post(
            Submit(
                rid=rid, token_ids=ids[fields.get("parent_len", 0) :], echo_steps=False, timeout_s=1e9,
                sampling=SamplingParams(max_new_tokens=max_new_tokens, temperature=0.0, ignore_eos=True), **fields,
            )
        )  # fmt: skip

    def receive(self, message):
        if not isinstance(message, Outputs):
            return
        for output in message.items:
            if output.finish is None:
                continue
            self.num_done += 1
            self.num_failed += output.finish.type == "error"
            ids, then = self.open.pop(output.rid)
            whole = ids + output.token_ids
            number = self.numbers.get(output.rid)
            if number is not None:
                self.events.append((False, number))
                self.calls[number] = Call(np.array(whole, np.int32), len(ids))
            self.longest_wait_s = max(self.longest_wait_s, output.queue_s)
            bound = max(STARVED_S, STARVED_PREFILLS * TOKEN_S * len(ids))
            self.longest_over_s = max(self.longest_over_s, output.queue_s - bound)
            then(whole)

    def close(self):
        """Counts what is left: `leaked` slots, tokens found (`hit_len`), `hit_rate`, the seconds it all took."""
        check(self.scheduler._state)
        self.scheduler.post(Control(id="flush", action="flush"))
        self.scheduler.step()
        stats = self.scheduler.stats()
        self.cpu_s = time.process_time() - self.begun
        self.leaked = stats["max_total_num_tokens"] - stats["kv_available_tokens"]
        self.hit_len, self.hit_rate = stats["cached_tokens_total"], stats["cache_hit_rate"]
