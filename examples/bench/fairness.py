"""What the order of requests and the care for memory win, on workloads that break simpler schedulers. No model.

    python examples/bench/fairness.py

A virtual clock: a step costs 2 ms and 25 us a token. Before and after, by the same code with a rule switched off:
starvation: 14 shared prefixes of 1500 tokens, of which the pool holds 12, always 64 requests behind them, and two cold
prompts a second (longest prefix first never gets to them);
flood: one client sends 1500 requests at once, another one every half second;
thrash: outputs of 600 tokens where 20 were expected, in a pool that holds a third of what runs.
"""

from __future__ import annotations

import argparse
import contextlib
from unittest import mock

import numpy as np
from virtual import VOCAB, Clock, CostExecutor, NoTokenizer

from radixlang.runtime.config import EngineConfig
from radixlang.runtime.messages import Outputs, Submit
from radixlang.runtime.sampling_params import SamplingParams
from radixlang.runtime.scheduler import queue
from radixlang.runtime.scheduler.memory import Memory
from radixlang.runtime.scheduler.scheduler import Scheduler
from radixlang.runtime.scheduler.state import State


class Load:
    """A scheduler on a virtual clock, and when its requests came, began and ended."""

    def __init__(self, *, num_slots, rows, policy="lpm"):
        self.clock = Clock()
        self.executor = CostExecutor(num_slots, self.clock)
        config = EngineConfig(
            max_running_requests=rows,
            max_queued_requests=10**6,
            schedule_policy=policy,
            speculative_algorithm="none",
            itl_target_ms=0,
        )
        self.scheduler = Scheduler(
            config, self.executor, NoTokenizer(), None, self.receive, max_context=4096,
            eos_token_ids=frozenset(), clock=self.clock,
        )  # fmt: skip
        self.came, self.first, self.last, self.done, self.gap = {}, {}, {}, {}, {}
        self.num_tokens = 0

    def submit(self, rid, ids, num_tokens, *, client="", known=False):
        """known: the length of the output is no secret."""
        self.came[rid] = self.clock.now
        sampling = SamplingParams(max_new_tokens=num_tokens, temperature=0.0, ignore_eos=known)
        self.scheduler.post(Submit(rid=rid, token_ids=ids, sampling=sampling, client=client, timeout_s=1e9))

    def receive(self, message):
        if not isinstance(message, Outputs):
            return
        for output in message.items:
            if output.token_ids:
                self.num_tokens += len(output.token_ids)
                self.first.setdefault(output.rid, self.clock.now)
                before = self.last.get(output.rid, self.clock.now)
                self.gap[output.rid] = max(self.gap.get(output.rid, 0.0), self.clock.now - before)
                self.last[output.rid] = self.clock.now
            if output.finish is not None:
                assert output.finish.type == "length", output.finish
                self.done[output.rid] = self.clock.now

    def waits(self, kind, *, end_s):
        """Seconds to the first token, or until now for those that have none; those that came before `end_s`."""
        rids = [rid for rid, came in self.came.items() if rid.startswith(kind) and came < end_s]
        return np.array([self.first.get(rid, self.clock.now) - self.came[rid] for rid in rids])


def endless_patience():
    """Longest prefix first as published: nobody ever starves."""
    patches = contextlib.ExitStack()
    patches.enter_context(mock.patch.object(queue, "STARVED_S", 1e9))
    return patches


def eager_memory():
    """Who has room for its next token is let in, however often it was retracted."""

    def fits(self, request, cached_len):
        return request.ids.size + 1 - cached_len <= self.available_len or not self._state.running

    def retract(self, request):
        self.counters.num_retracted_reqs += 1
        request.times_retracted = 1
        self.put_back(request)

    patches = contextlib.ExitStack()
    patches.enter_context(mock.patch.object(Memory, "fits", fits))
    patches.enter_context(mock.patch.object(State, "retract", retract))
    return patches


def starvation(name, policy, rule):
    with rule():
        load, draw, num, colds = Load(num_slots=20_000, rows=16, policy=policy), np.random.default_rng(1), 0, 0
        stems = [draw.integers(0, VOCAB, 1500).tolist() for _ in range(14)]
        while load.clock.now < 20.0:
            while num + colds - len(load.first) < 64:
                num += 1
                load.submit(f"warm{num}", stems[draw.integers(14)] + draw.integers(0, VOCAB, 8).tolist(), 32)
            while colds < 2 * load.clock.now:
                colds += 1
                load.submit(f"cold{colds}", draw.integers(0, VOCAB, 400).tolist(), 32)
            load.scheduler.step()
        warm, cold = load.waits("warm", end_s=16.0), load.waits("cold", end_s=16.0)
        hit, rate = load.scheduler.stats()["cache_hit_rate"], len(load.done) / load.clock.now
        print(
            f"starvation  {name:22} hit {hit:.2f}, {rate:4.0f} requests/s; first token: "
            f"warm p50 {np.median(warm):5.2f} s, cold p50 {np.median(cold):5.2f} s, worst {cold.max():5.2f} s"
        )


def flood(name, policy, rule, *, shares):
    with rule():
        load, draw, num = Load(num_slots=60_000, rows=16, policy=policy), np.random.default_rng(1), 0
        for i in range(1500):
            ids = draw.integers(0, VOCAB, 200).tolist()
            load.submit(f"flood{i}", ids, 32, client="flood" if shares else "", known=True)
        while len(load.done) < 1500 + num or num < 20:
            while num < min(20, 2 * load.clock.now):
                num += 1
                ids = draw.integers(0, VOCAB, 200).tolist()
                load.submit(f"modest{num}", ids, 32, client="modest" if shares else "", known=True)
            load.scheduler.step()
        modest = load.waits("modest", end_s=1e9)
        print(
            f"flood       {name:22} first token of the modest: p50 {np.median(modest):5.2f} s, "
            f"worst {modest.max():5.2f} s; everything done after {load.clock.now:5.1f} s"
        )


def thrash(name, rule):
    with rule():
        load, draw = Load(num_slots=13_000, rows=48), np.random.default_rng(1)
        for i in range(8):
            load.submit(f"past{i}", draw.integers(0, VOCAB, 50).tolist(), 20)
        while len(load.done) < 8:
            load.scheduler.step()
        begun_s, tokens, computed = load.clock.now, load.num_tokens, load.executor.num_tokens
        for i in range(96):
            load.submit(f"r{i}", draw.integers(0, VOCAB, 200).tolist(), 600)
        while len(load.done) < 104:
            load.scheduler.step()
        seconds = load.clock.now - begun_s
        gaps = np.sort([gap for rid, gap in load.gap.items() if rid.startswith("r")])
        print(
            f"thrash      {name:22} {(load.num_tokens - tokens) / seconds:5.0f} tok/s, "
            f"{load.scheduler.stats()['num_retracted_reqs']:4} retractions, "
            f"{(load.executor.num_tokens - computed) / (96 * 800):.2f} tokens computed for one needed; "
            f"longest pause p50 {np.median(gaps):5.2f} s, worst {gaps[-1]:5.2f} s"
        )


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    starvation("in order of arrival", "fcfs", contextlib.nullcontext)
    starvation("longest prefix first", "lpm", endless_patience)
    starvation("ours", "lpm", contextlib.nullcontext)
    flood("in order of arrival", "fcfs", contextlib.nullcontext, shares=False)
    flood("longest prefix first", "lpm", endless_patience, shares=False)
    flood("ours", "lpm", contextlib.nullcontext, shares=True)
    thrash("let in what fits now", eager_memory)
    thrash("ours", contextlib.nullcontext)


if __name__ == "__main__":
    main()
