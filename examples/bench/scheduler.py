"""What scheduling costs: the limits of the design beside what this machine measures. No model runs.

    python examples/bench/scheduler.py      (the radix cache by itself: examples/bench/radix.py)

Prints what, the limit (p50 / p99 where two are given), what was measured by the wall clock, and the processor time of
the same (which a busy machine disturbs less).
"""

from __future__ import annotations

import argparse
import gc
import time
import zlib

import msgspec
import numpy as np

from radixlang.runtime.config import EngineConfig
from radixlang.runtime.messages import Abort, Control, FromEngine, Submit
from radixlang.runtime.model_runner.plan import StepOutput
from radixlang.runtime.sampling_params import SamplingParams
from radixlang.runtime.scheduler.scheduler import Scheduler


class FreeExecutor:
    """Costs nothing: token 1 for each sample."""

    vocab_size, hidden_size, device, kv_bytes_per_token = 32000, 1, "none", 1

    def __init__(self, num_slots):
        self.num_slots = num_slots
        self.tokens = np.ones(1024, np.int32)
        self.nothing = [None] * 1024

    def execute(self, plan):
        n = len(plan.samples)
        return StepOutput(self.tokens[:n], self.nothing[:n], [], np.zeros((0, 1), np.float32))

    def close(self):
        pass


class NoTokenizer:
    vocab_size = 32000


def make_scheduler(send=lambda message: None, *, num_slots=1 << 20, max_context=4096, executor=FreeExecutor, **config):
    return Scheduler(
        EngineConfig(**config),
        executor(num_slots),
        NoTokenizer(),
        None,
        send,
        max_context=max_context,
        eos_token_ids=frozenset({2}),
    )


def submit(scheduler, rid, ids, *, max_new_tokens, stream=False):
    sampling = SamplingParams(max_new_tokens=max_new_tokens, temperature=0.0, ignore_eos=True)
    scheduler.post(Submit(rid=rid, token_ids=ids, sampling=sampling, echo_steps=stream))


class Times:
    """Wall and processor time of repeated calls, in microseconds."""

    def __init__(self):
        self.wall, self.own = [], []

    def call(self, run, *args):
        wall, own = time.perf_counter(), time.thread_time()
        result = run(*args)
        own_end = time.thread_time()
        self.wall.append((time.perf_counter() - wall) * 1e6)
        self.own.append((own_end - own) * 1e6)
        return result

    def show(self, what, limit):
        told = []
        for values in (np.sort(self.wall), np.sort(self.own)):
            told.append(f"{values[len(values) // 2]:9.1f} / {values[len(values) * 99 // 100]:9.1f}")
        print(f"{what:48} {limit:>10} {told[0]:>24} {told[1]:>24}")


def timed(run, times):
    measured = Times()
    for _ in range(times):
        measured.call(run)
    return measured


def decode_batch():
    scheduler = make_scheduler()
    draw = np.random.default_rng(0)
    for i in range(256):
        submit(scheduler, f"r{i}", draw.integers(3, 32000, 32).tolist(), max_new_tokens=3000, stream=i < 16)
    while scheduler.stats()["num_running_reqs"] < 256 or scheduler._state.rows.in_prompt.any():
        scheduler.step()
    state, planner, committer = scheduler._state, scheduler._planner, scheduler._committer
    builds, commits = Times(), Times()
    for _ in range(1000):
        batch, plan = builds.call(planner.build)
        output = scheduler._executor.execute(plan)
        commits.call(committer.commit, batch, output)
        state.outputs.clear()
    assert len(batch.decoding) == 256
    builds.show("build(), decode only, 256 rows", "250 / 600")
    commits.show("commit(), 256 rows, 16 streaming", "200 / 500")
    steps = timed(scheduler.step, 500)
    steps.show("whole step(), 256 rows, executor free", "")
    wall, own = (256e3 / float(np.mean(values)) for values in (steps.wall, steps.own))
    print(f"{'tokens a second, executor free, 256 rows':48} {'>= 100k':>10} {wall:22.0f} k {own:22.0f} k")


def many_waiting():
    scheduler = make_scheduler(max_queued_requests=20000)
    draw = np.random.default_rng(0)
    for i in range(16 + 10000):
        ids = np.concatenate((np.full(int(draw.integers(1, 64)), 7), draw.integers(3, 32000, 64)))
        submit(scheduler, f"r{i}", ids.tolist(), max_new_tokens=2000)
        if i == 255:
            scheduler.step()
    scheduler.step()
    while len(scheduler._state.running) < 256:
        scheduler.step()
    what = f"step() with {len(scheduler._state.queue)} waiting, 256 running"
    timed(scheduler.step, 300).show(what, "1000")


def aborting():
    scheduler = make_scheduler()
    submit(scheduler, "a", [5] * 2000, max_new_tokens=100)
    scheduler.step()
    scheduler.post(Abort(rid="a"))
    steps = 0
    while scheduler.stats()["num_used_tokens"]:
        scheduler.step()
        steps += 1
    print(f"{'abort to slots free':48} {'<= 2 steps':>10} {steps:22} steps")


class BusyExecutor(FreeExecutor):
    """Takes about 5 ms of one core a step in one call without the GIL, as a small model would."""

    def __init__(self, num_slots):
        super().__init__(num_slots)
        once = bytes(1 << 22)
        seconds = min(timed(lambda: zlib.crc32(once), 5).own) * 1e-6
        self.bytes = bytes(int(len(once) * 5e-3 / seconds))

    def execute(self, plan):
        zlib.crc32(self.bytes)
        return super().execute(plan)


def overlapping(batch):
    """Streams over the loop with and without overlap; every message is encoded as for another process."""
    encoder, seconds, stalls = msgspec.msgpack.Encoder(), {}, {}
    for _ in range(4):
        for disabled in (True, False):
            scheduler = make_scheduler(disable_overlap_schedule=disabled, executor=BusyExecutor)
            for i in range(batch):
                submit(scheduler, f"r{i}", [5 + i] * 7, max_new_tokens=100, stream=True)
            scheduler._send = stop_at_the_end(scheduler, encoder)
            begun = time.perf_counter()
            scheduler.run()
            seconds.setdefault(disabled, []).append(time.perf_counter() - begun)
            stalls.setdefault(disabled, []).append(scheduler.stats()["stall_seconds"])
    sync, overlapped = min(seconds[True]), min(seconds[False])
    share, less = (100 * min(stalls[disabled]) / min(seconds[disabled]) for disabled in (True, False))
    what = f"overlap on / off, {batch} streams, 5 ms a step"
    print(f"{what:48} {'':>10} {sync / overlapped:22.2f} x; executor waits {less:.1f} % / {share:.1f} % of the time")


def stop_at_the_end(scheduler, encoder):
    def send(message: FromEngine):
        encoder.encode(message)
        if getattr(message, "items", None) and message.items[-1].finish is not None:
            scheduler.post(Control(id="end", action="shutdown"))

    return send


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    gc.freeze()
    print(f"{'us':48} {'limit':>10} {'wall p50 / p99':>24} {'processor p50 / p99':>24}")
    decode_batch()
    many_waiting()
    aborting()
    for batch in (1, 16, 64, 256):
        overlapping(batch)


if __name__ == "__main__":
    main()
