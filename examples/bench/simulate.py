"""100,000 requests on a virtual clock: does the scheduler stay fast, fair and leak-free, and what does its order win?

    python examples/bench/simulate.py [--requests 100000] [--pool 0.25]

No model: an executor that costs no time advances a virtual clock by a cost model (a step costs 2 ms, 25 us a token).
Four traces (Zipf shared prefixes; chats; agent programs with tool gaps; a loop that is LRU's worst case) against a pool
that holds `--pool` of the working set. Prints hit rates beside what an endless cache would reach and beside fcfs + lru,
the longest wait, and the cost of scheduling; exits 1 when a slot leaked or a request got no answer.
"""

from __future__ import annotations

import argparse
import heapq
import resource
import sys
import time

import numpy as np

from radixlang.runtime.config import EngineConfig
from radixlang.runtime.messages import Control, Outputs, Submit
from radixlang.runtime.model_runner.plan import StepOutput
from radixlang.runtime.sampling_params import SamplingParams
from radixlang.runtime.scheduler.audit import check
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


def zipf(num, draw):
    """One-shot requests behind 400 shared prefixes."""
    prefixes = [draw.integers(0, VOCAB, int(draw.integers(50, 600))).tolist() for _ in range(400)]
    ranks = np.minimum(draw.zipf(1.2, num) - 1, 399)
    for rank in ranks:
        yield [(prefixes[rank] + draw.integers(0, VOCAB, int(draw.integers(4, 60))).tolist(), 8, 0.0)]


def chats(num, draw):
    """Conversations of up to 10 turns: each prompt is the whole history and a new message."""
    system = draw.integers(0, VOCAB, 60).tolist()
    made = 0
    while made < num:
        turns = int(draw.integers(1, 11))
        made += turns
        yield [(system if turn == 0 else None, 24, 1.0) for turn in range(turns)]


def agents(num, draw):
    """20 kinds of agents: long instructions, then steps with a tool call of a second between them."""
    kinds = [draw.integers(0, VOCAB, 800).tolist() for _ in range(20)]
    made = 0
    while made < num:
        steps = int(draw.integers(3, 8))
        made += steps
        kind = kinds[int(draw.integers(20))]
        yield [(kind if step == 0 else None, 16, 0.5) for step in range(steps)]


def loop(num, draw):
    """Documents asked in turn, a few more than the pool holds: plain LRU forgets each just before its next use."""
    documents = [draw.integers(0, VOCAB, 500).tolist() for _ in range(120)]
    for i in range(num):
        yield [(documents[i % 120] + draw.integers(0, VOCAB, 8).tolist(), 4, 0.0)]


TRACES = {"zipf": zipf, "chats": chats, "agents": agents, "loop": loop}
WORKING_SET = {"zipf": 150_000, "chats": 120_000, "agents": 80_000, "loop": 64_000}  # tokens, about


class Run:
    """One trace through one scheduler."""

    def __init__(self, name, num, pool, *, schedule_policy="lpm", eviction="lru", rate=0.9):
        self.draw = np.random.default_rng(7)
        self.clock = Clock()
        slots = max(8192, int(WORKING_SET[name] * pool))
        self.executor = CostExecutor(slots, self.clock)
        config = EngineConfig(
            schedule_policy=schedule_policy,
            radix_eviction_policy=eviction,
            max_running_requests=64,
            max_queued_requests=10**6,
        )
        self.scheduler = Scheduler(
            config, self.executor, NoTokenizer(), None, self.receive, max_context=4096,
            eos_token_ids=frozenset(), clock=self.clock,
        )  # fmt: skip
        self.programs = TRACES[name](num, self.draw)
        self.think = self.draw.exponential(1.0, 1 << 16)
        self.open, self.num_sent, self.num_done, self.num_failed = {}, 0, 0, 0
        self.longest_wait_s = self.wall_s = 0.0
        self.next_program_s, self.rate = 0.0, rate
        self.due = []

    def send(self, rid, ids, max_new_tokens):
        sampling = SamplingParams(max_new_tokens=max_new_tokens, temperature=0.0, ignore_eos=True)
        self.scheduler.post(Submit(rid=rid, token_ids=ids, sampling=sampling, echo_steps=False, timeout_s=1e9))

    def advance(self, rid, calls, turn, history):
        prompt, max_new_tokens, _ = calls[turn]
        ids = (history or []) + (prompt if prompt is not None else self.draw.integers(0, VOCAB, 30).tolist())
        self.num_sent += 1
        self.open[rid] = (calls, turn, ids)
        self.send(rid, ids, max_new_tokens)

    def receive(self, message):
        if not isinstance(message, Outputs):
            return
        for output in message.items:
            if output.finish is None:
                continue
            self.num_done += 1
            self.num_failed += output.finish.type == "error"
            self.longest_wait_s = max(self.longest_wait_s, output.queue_s)
            calls, turn, ids = self.open.pop(output.rid)
            if turn + 1 < len(calls):
                gap = calls[turn + 1][2] * float(self.think[self.num_done & 0xFFFF])
                program = output.rid.split(".")[0]
                entry = (self.clock.now + gap, f"{program}.{turn + 1}", calls, turn + 1, ids + output.token_ids)
                heapq.heappush(self.due, entry)

    def run(self):
        begun = time.perf_counter()
        number, more, backlog = 0, True, 0
        while more or self.due or self.open:
            while self.due and self.due[0][0] <= self.clock.now:
                _, rid, calls, turn, history = heapq.heappop(self.due)
                self.advance(rid, calls, turn, history)
            # Closed loop: 96 requests are open and up to 300 programs think: the queue is never empty nor endless.
            while more and len(self.open) < 96 and len(self.due) < 300:
                calls = next(self.programs, None)
                if calls is None:
                    more = False
                    break
                self.advance(f"p{number}.0", calls, 0, None)
                number += 1
            backlog = max(backlog, len(self.scheduler._state.queue))
            if not self.scheduler.step() and self.due:
                self.clock.now = max(self.clock.now, self.due[0][0])
        self.wall_s = time.perf_counter() - begun
        check(self.scheduler._state)
        self.scheduler.post(Control(id="flush", action="flush"))
        self.scheduler.step()
        stats = self.scheduler.stats()
        self.leaked = stats["max_total_num_tokens"] - stats["kv_available_tokens"]
        return stats


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--requests", type=int, default=100_000)
    options.add_argument("--pool", type=float, default=0.25)
    options.add_argument("--traces", default=",".join(TRACES))
    given = options.parse_args()
    names = given.traces.split(",")
    each = given.requests // len(names)
    print("trace    order                  requests    hit  endless  longest wait  us/step    wall    RSS")
    bad = False
    for name in names:
        endless = Run(name, min(each // 3, 3000), 20.0).run()["cache_hit_rate"]
        for schedule, eviction in (("lpm", "lru"), ("lpm", "program-gdsf"), ("fcfs", "lru")):
            run = Run(name, each // 3, given.pool, schedule_policy=schedule, eviction=eviction)
            stats = run.run()
            step_us = 1e6 * stats["scheduler_seconds"] / max(1, stats["num_steps"])
            rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            print(
                f"{name:8} {schedule + ' + ' + eviction:22} {run.num_done:8} {stats['cache_hit_rate']:6.3f} "
                f"{endless:8.3f} {run.longest_wait_s:11.2f} s {step_us:8.0f} {run.wall_s:6.1f}s {rss:5}M"
            )
            if run.leaked or run.num_failed or run.num_done != run.num_sent:
                print(f"  leaked {run.leaked} slots, {run.num_failed} failed, {run.num_sent - run.num_done} unanswered")
                bad = True
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
