"""The tree against a dict of prefixes: any order of operations."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from radixlang.radix_cache.slot_pool import SlotPool
from radixlang.radix_cache.tree import RadixTree

PATHS = st.lists(st.integers(0, 2), min_size=1, max_size=24)
SPACES = st.sampled_from(["", "other"])


class TreeMachine(RuleBasedStateMachine):
    """`known`: slot of each page-aligned prefix, and the step that computes it. `held`: handles and their paths."""

    @initialize(page_size=st.sampled_from([1, 2, 4]), policy=st.sampled_from(["lru", "lfu", "slru", "program-gdsf"]))
    def start(self, page_size, policy) -> None:
        self.pool = SlotPool(256, page_size)
        self.tree = RadixTree(self.pool, policy=policy)
        self.page_size = page_size
        self.known: dict[tuple, tuple[int, int]] = {}
        self.held: list[tuple] = []
        self.pending: list[tuple] = []
        self.step_number = 1
        self.log: list = []

    def aligned(self, path):
        return path[: len(path) - len(path) % self.page_size]

    def longest(self, space, path, step):
        length = 0
        for end in range(self.page_size, len(path) + 1, self.page_size):
            entry = self.known.get((space, tuple(path[:end])))
            if entry is None or entry[1] > step:
                break
            length = end
        return length

    def learn(self, space, path, step) -> None:
        match = self.tree.match(np.array(path, np.int32), end=len(path), namespace=space, step=2**40)
        slots = np.zeros(len(path), np.int32)
        handle = self.tree.lock(match)
        self.tree.write_slots(handle, slots, start=0)
        self.tree.unlock(handle)
        for end in range(self.page_size, len(path) + 1, self.page_size):
            self.known.setdefault((space, tuple(path[:end])), (int(slots[end - 1]), step))

    @rule(path=PATHS, space=SPACES, ahead=st.integers(-1, 1))
    def match(self, path, space, ahead) -> None:
        step = self.step_number + ahead
        match = self.tree.match(np.array(path, np.int32), end=len(path), namespace=space, step=step)
        assert match.length == self.longest(space, path, step)

    @rule(path=PATHS, space=SPACES)
    def lock(self, path, space) -> None:
        ids = np.array(path, np.int32)
        match = self.tree.match(ids, end=len(path), namespace=space, step=self.step_number)
        handle = self.tree.lock(match)
        assert handle.end == match.length
        self.held.append((handle, space, path[: match.length]))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def unlock(self, data) -> None:
        index = data.draw(st.integers(0, len(self.held) - 1))
        if any(entry[0] is self.held[index][0] for entry in self.pending):
            return
        handle, _, _ = self.held.pop(index)
        self.tree.unlock(handle)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), more=PATHS)
    def insert(self, data, more) -> None:
        handle, space, path = data.draw(st.sampled_from(self.held))
        if any(entry[0] is handle for entry in self.pending):
            return
        more = self.aligned(more)
        if not more or self.pool.free_len < len(more):
            return
        ids = np.array(more, np.int32)
        if self.longest(space, path + more, 2**40) != self.longest(space, path + more, self.step_number):
            return
        node = self.tree.insert(handle, ids, self.pool.allocate(len(more)))
        assert node.end == len(path) + len(more)
        self.learn(space, path + more, 0)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), more=PATHS)
    def publish(self, data, more) -> None:
        index = data.draw(st.integers(0, len(self.held) - 1))
        handle, space, path = self.held[index]
        more = self.aligned(more)
        if not more or self.pool.free_len < len(more):
            return
        slots = self.pool.allocate(len(more))
        moved = self.tree.publish(handle, np.array(more, np.int32), slots, step=self.step_number)
        shared_already = (space, tuple(path + more[: self.page_size])) in self.known
        assert (moved is None) == shared_already
        if moved is None:
            self.pool.free(slots)
            return
        self.held[index] = (moved, space, path + more)
        self.pending.append(self.held[index])
        self.learn(space, path + more, self.step_number)

    @rule()
    def commit(self) -> None:
        self.tree.commit(self.step_number)
        self.step_number += 1
        self.pending = []

    @rule()
    def fail(self) -> None:
        """Everybody who holds what the step computes lets go; then it is forgotten."""
        failed = {key for key, (_, step) in self.known.items() if step == self.step_number}
        keep = []
        for handle, space, path in self.held:
            if (space, tuple(path)) in failed:
                self.tree.unlock(handle)
            else:
                keep.append((handle, space, path))
        self.held, self.pending = keep, []
        self.tree.discard(self.step_number)
        for key in failed:
            del self.known[key]
        self.step_number += 1

    @rule(num_tokens=st.integers(0, 40))
    def evict(self, num_tokens) -> None:
        evictable = self.tree.evictable_len
        before = self.tree.total_len
        freed = self.tree.evict(num_tokens)
        assert freed >= min(num_tokens, evictable)
        assert freed <= max(0, num_tokens + self.page_size - 1)
        assert before - self.tree.total_len == freed
        gone = [key for key in self.known if not self.is_there(key)]
        assert len(gone) * self.page_size == freed
        for key in gone:
            del self.known[key]

    def is_there(self, key) -> bool:
        space, path = key
        return self.tree.match(np.array(path, np.int32), end=len(path), namespace=space, step=2**40).length == len(path)

    @rule()
    def flush(self) -> None:
        self.evict(10**6)
        if not self.held:
            assert self.pool.free_len == 256
            assert self.tree.total_len == 0

    @invariant()
    def holds(self) -> None:
        if not hasattr(self, "tree"):
            return
        parts = self.tree.check()
        slots = np.concatenate([*parts, self.pool.free_slots()])
        assert sorted(slots.tolist()) == list(range(256)), "a slot has two owners or none"
        for handle, space, path in self.held:
            row = np.zeros(len(path), np.int32)
            self.tree.write_slots(handle, row, start=0)
            wanted = [
                self.known[space, tuple(path[:end])][0] for end in range(self.page_size, len(path) + 1, self.page_size)
            ]
            assert row[self.page_size - 1 :: self.page_size].tolist() == wanted, "a held path changed"
        locked = {key for _, space, path in self.held for key in self.prefixes(space, path)}
        assert self.tree.total_len - self.tree.evictable_len == len(locked) * self.page_size

    def prefixes(self, space, path):
        return [(space, tuple(path[:end])) for end in range(self.page_size, len(path) + 1, self.page_size)]


TestRadixTree = TreeMachine.TestCase
TestRadixTree.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


@pytest.mark.parametrize("policy", ["lru", "lfu", "slru", "program-gdsf"])
def test_the_same_operations_build_the_same_tree(policy) -> None:
    def run():
        draw = np.random.default_rng(3)
        pool = SlotPool(512)
        tree = RadixTree(pool, policy=policy)
        shape = []
        for _ in range(400):
            ids = draw.integers(0, 3, int(draw.integers(1, 20))).astype(np.int32)
            handle = tree.lock(tree.match(ids, end=ids.size))
            rest = ids.size - handle.end
            if pool.free_len < rest:
                tree.evict(rest)
            if rest:
                tree.insert(handle, ids[handle.end :], pool.allocate(rest))
            tree.unlock(handle)
            shape.append((tree.total_len, tree.stats(), pool.free_slots().tolist()))
        return shape

    assert run() == run()
