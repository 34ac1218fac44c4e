"""What scheduling costs: the limits of the design beside what this machine measures. No model runs.

    python examples/bench/scheduler.py

Prints what, the limit (p50 / p99 where two are given), and what was measured. Noisy machines: run it twice.
"""

from __future__ import annotations

import gc
import time
import zlib

import msgspec
import numpy as np

from radixlang.radix_cache.slot_pool import SlotPool
from radixlang.radix_cache.tree import RadixTree
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


def show(what, limit, values_us):
    values = np.sort(np.asarray(values_us))
    p50, p99 = values[len(values) // 2], values[min(len(values) - 1, len(values) * 99 // 100)]
    print(f"{what:48} {limit:>16} {p50:9.1f} / {p99:.1f} us")


def timed(run, times):
    values = []
    for _ in range(times):
        begun = time.perf_counter()
        run()
        values.append((time.perf_counter() - begun) * 1e6)
    return values


def decode_batch():
    scheduler = make_scheduler()
    draw = np.random.default_rng(0)
    for i in range(256):
        submit(scheduler, f"r{i}", draw.integers(3, 32000, 32).tolist(), max_new_tokens=3000, stream=i < 16)
    while scheduler.stats()["num_running_reqs"] < 256 or scheduler._state.rows.in_prompt.any():
        scheduler.step()
    state, planner, committer = scheduler._state, scheduler._planner, scheduler._committer
    builds, commits, steps = [], [], []
    for _ in range(1000):
        begun = time.perf_counter()
        batch, plan = planner.build()
        built = time.perf_counter()
        output = scheduler._executor.execute(plan)
        ran = time.perf_counter()
        committer.commit(batch, output)
        done = time.perf_counter()
        state.outputs.clear()
        builds.append((built - begun) * 1e6)
        commits.append((done - ran) * 1e6)
    assert len(batch.decoding) == 256
    show("build(), decode only, 256 rows", "250 / 600", builds)
    show("commit(), 256 rows, 16 streaming", "200 / 500", commits)
    begun = time.perf_counter()
    for _ in range(500):
        begun_step = time.perf_counter()
        scheduler.step()
        steps.append((time.perf_counter() - begun_step) * 1e6)
    rate = 500 * 256 / (time.perf_counter() - begun)
    show("whole step(), 256 rows, executor free", "", steps)
    print(f"{'tokens a second, executor free, 256 rows':48} {'>= 100k':>16} {rate / 1000:9.0f} k/s")


def matching():
    draw = np.random.default_rng(0)
    pool = SlotPool(1 << 16)
    tree = RadixTree(pool)
    ids = draw.integers(0, 50000, 8192).astype(np.int32)
    for length in range(1024, 8193, 1024):  # 8 nodes
        handle = tree.lock(tree.match(ids, end=length))
        tree.insert(handle, ids[handle.end : length], pool.allocate(length - handle.end))
        tree.unlock(handle)
    show("match 8192 tokens in 8 nodes", "40", timed(lambda: tree.match(ids, end=8192), 2000))
    other = ids.copy()
    show("  the same bytes compared by numpy", "", timed(lambda: np.array_equal(ids, other), 2000))
    handle = tree.lock(tree.match(ids, end=8192))
    tails = iter(draw.integers(0, 50000, (2000, 16)).astype(np.int32))

    def insert():
        tree.insert(handle, next(tails), pool.allocate(16))

    show("insert 16 tokens under 8192", "40", timed(insert, 2000))


def evicting(num_leaves, times=5000):
    pool = SlotPool(num_leaves * 4 + 64)
    tree = RadixTree(pool)
    root = tree.lock(tree.match(np.zeros(1, np.int32), end=0))
    ids = np.empty(4, np.int32)
    for i in range(num_leaves):
        ids[:] = i
        tree.insert(root, ids, pool.allocate(4))
    gc.collect()
    values = timed(lambda: tree.evict(4), times)
    show(f"evict one of {num_leaves} leaves", "5", values)
    return float(np.median(values))


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
    values = timed(scheduler.step, 300)
    show(f"step() with {len(scheduler._state.queue)} waiting, 256 running", "1000", values)


def aborting():
    scheduler = make_scheduler()
    submit(scheduler, "a", [5] * 2000, max_new_tokens=100)
    scheduler.step()
    scheduler.post(Abort(rid="a"))
    steps = 0
    while scheduler.stats()["num_used_tokens"]:
        scheduler.step()
        steps += 1
    print(f"{'abort to slots free':48} {'<= 2 steps':>16} {steps:9} steps")


class BusyExecutor(FreeExecutor):
    """Takes 5 ms of one core a step without the GIL, as a small model would."""

    def __init__(self, num_slots):
        super().__init__(num_slots)
        self.bytes = bytes(1 << 20)

    def execute(self, plan):
        begun = time.perf_counter()
        while time.perf_counter() - begun < 5e-3:
            zlib.crc32(self.bytes)
        return super().execute(plan)


def overlapping():
    """64 streams over the loop with and without overlap; every message is encoded as for another process."""
    encoder, seconds = msgspec.msgpack.Encoder(), {}
    for _ in range(3):
        for disabled in (True, False):
            scheduler = make_scheduler(
                lambda message: encoder.encode(message), disable_overlap_schedule=disabled, executor=BusyExecutor
            )
            for i in range(64):
                submit(scheduler, f"r{i}", [5 + i] * 7, max_new_tokens=100, stream=True)
            scheduler._send = stop_at_the_end(scheduler, encoder)
            begun = time.perf_counter()
            scheduler.run()
            seconds.setdefault(disabled, []).append(time.perf_counter() - begun)
    sync, overlapped = min(seconds[True]), min(seconds[False])
    print(f"{'overlap on / off, 64 streams, 5 ms a step':48} {'':>16} {sync / overlapped:9.2f} x")


def stop_at_the_end(scheduler, encoder):
    def send(message: FromEngine):
        encoder.encode(message)
        if getattr(message, "items", None) and message.items[-1].finish is not None:
            scheduler.post(Control(id="end", action="shutdown"))

    return send


def main():
    gc.freeze()
    print(f"{'what':48} {'limit':>16} {'measured p50 / p99':>24}")
    decode_batch()
    matching()
    small = evicting(10_000)
    large = evicting(1_000_000)
    print(f"{'  ratio of the medians':48} {'<= 2':>16} {large / small:9.2f}")
    many_waiting()
    aborting()
    overlapping()


if __name__ == "__main__":
    main()
