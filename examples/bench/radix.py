"""What the radix cache costs: the limits of the design beside what this machine measures. No model runs.

    python examples/bench/radix.py

Time of this thread's CPU, so that a busy machine is measured too; each sample is a few calls (the clock's own cost is
spread). Prints what, the limit, median and 99th percentile in microseconds; exits 1 where a median is above its limit.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time

import numpy as np

from radixlang.radix_cache.interface import Match
from radixlang.radix_cache.slot_pool import SlotPool
from radixlang.radix_cache.tree import RadixTree

POLICY = "program-gdsf"
over = []


def show(what, limit, values):
    values = np.sort(values)
    median, high = values[len(values) // 2], values[min(len(values) - 1, len(values) * 99 // 100)]
    print(f"{what:52} {limit if limit is not None else '':>6} {median:9.2f} / {high:.2f} us")
    if limit is not None and median > limit:
        over.append(what)
    return median


def timed(run, samples, calls):
    """Microseconds a call, of each sample of so many calls."""
    values = []
    for _ in range(samples):
        begun = time.thread_time()
        for _ in range(calls):
            run()
        values.append((time.thread_time() - begun) * 1e6 / calls)
    return values


def walking():
    draw = np.random.default_rng(0)
    pool = SlotPool(1 << 17)
    tree = RadixTree(pool, policy=POLICY)
    ids = draw.integers(0, 50000, 8192).astype(np.int32)
    for length in range(1024, 8193, 1024):  # 8 nodes: something branches off after each
        handle = tree.lock(tree.match(ids, end=length))
        tree.insert(handle, ids[handle.end : length], pool.allocate(length - handle.end))
        tree.unlock(handle)
        side = tree.lock(tree.match(ids, end=length))
        tree.insert(side, np.array([60000 + length], np.int32), pool.allocate(1))
        tree.unlock(side)
    show("match 8192 tokens in 8 nodes", 40, timed(lambda: tree.match(ids, end=8192), 200, 10))
    other = ids.copy()
    show("  the same bytes compared by numpy", None, timed(lambda: np.array_equal(ids, other), 200, 10))

    handle = tree.lock(tree.match(ids, end=8192))

    def lock():
        tree.unlock(tree.lock(Match(handle, handle.end)))

    show("lock and unlock that path", None, timed(lock, 200, 10))
    tails = iter(draw.integers(0, 2**31 - 1, (2000, 16)).astype(np.int32))
    show("insert 16 tokens below it", 40, timed(lambda: tree.insert(handle, next(tails), pool.allocate(16)), 200, 10))
    state = {"handle": tree.lock(tree.match(ids, end=8192))}
    deltas = iter(draw.integers(0, 2**31 - 1, (600, 64)).astype(np.int32))

    def grow():
        state["handle"] = tree.grow(state["handle"], next(deltas), pool.allocate(64))

    show("checkpoint: a path grows by 64 tokens", 40, timed(grow, 60, 10))
    tree.unlock(state["handle"])
    tree.check()


def evicting(num_leaves, policy):
    pool = SlotPool(num_leaves * 4 + 64)
    tree = RadixTree(pool, policy=policy)
    root = tree.lock(tree.match(np.zeros(1, np.int32), end=0))
    ids = np.empty(4, np.int32)
    for i in range(num_leaves):
        ids[:] = i
        tree.insert(root, ids, pool.allocate(4))
    gc.collect()
    gc.freeze()
    return show(f"evict one of {num_leaves} leaves, {policy}", 5, timed(lambda: tree.evict(4), 200, 25))


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print(f"{'what':52} {'limit':>6} {'median / p99':>20}")
    walking()
    for policy in (POLICY, "lru"):
        small = evicting(10_000, policy)
        large = evicting(1_000_000, policy)
        print(f"{'  ratio of the medians':52} {2:>6} {large / small:9.2f}")
        if large > 2 * small:
            over.append(f"{policy}: evicting grows with the tree")
    for what in over:
        print("OVER ITS LIMIT:", what)
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
