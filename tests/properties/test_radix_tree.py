"""The tree against a dict of prefixes: any order of operations. Each invariant of the design has its number here.

Two trees get the same calls: what one does, the other does (14).
"""

from __future__ import annotations

from collections import Counter

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from radixlang.radix_cache.eviction import POLICIES
from radixlang.radix_cache.interface import Match
from radixlang.radix_cache.slot_pool import SlotPool
from radixlang.radix_cache.tree import RadixTree

PATHS = st.lists(st.integers(0, 2), min_size=1, max_size=24)
SPACES = st.sampled_from(["", "other"])
NUM_SLOTS = 256


def array(path):
    return np.array(path, np.int32)


def walk(tree):
    """(namespace, path, node) of every node but the roots."""
    for space, root in tree.roots.items():
        stack = [((), root)]
        while stack:
            path, node = stack.pop()
            for child in node.children.values():
                stack.append((path + tuple(child.key.tolist()), child))
            if node is not root:
                yield space, path, node


class World:
    """One tree with its pool, and the handles on it."""

    def __init__(self, page_size, policy) -> None:
        self.pool = SlotPool(NUM_SLOTS, page_size)
        self.tree = RadixTree(self.pool, policy=policy)
        self.handles: list = []
        self.pins: list = []
        self.leases: list = []
        self.private: list = []

    def shape(self):
        return [
            (space, path, node.id, node.slots.tolist(), node.lock, node.hits, node.last_use, node.interval)
            for space, path, node in walk(self.tree)
        ]


class TreeMachine(RuleBasedStateMachine):
    """`known`: slot of each page-aligned prefix, and the step that computes it. `held`: the paths of the handles."""

    @initialize(page_size=st.sampled_from([1, 2, 4]), policy=st.sampled_from(sorted(POLICIES)))
    def start(self, page_size, policy) -> None:
        self.worlds = [World(page_size, policy), World(page_size, policy)]
        self.page_size = page_size
        self.known: dict[tuple, tuple[int, int]] = {}
        self.held: list[tuple[str, tuple, bool]] = []
        """(namespace, path, it shares what the step computes)."""
        self.step_number = 1

    def both(self, act):
        """The same act in both worlds; its result, which is the same."""
        first, second = (act(world) for world in self.worlds)
        assert first == second, "14: the same calls told different things"
        return first

    @property
    def world(self):
        return self.worlds[0]

    def aligned(self, path):
        return tuple(path[: len(path) - len(path) % self.page_size])

    def prefixes(self, path, start=0):
        return [tuple(path[:end]) for end in range(start + self.page_size, len(path) + 1, self.page_size)]

    def longest(self, space, path, step):
        length = 0
        for prefix in self.prefixes(path):
            entry = self.known.get((space, prefix))
            if entry is None or entry[1] > step:
                break
            length = len(prefix)
        return length

    def learn(self, space, path, start, slots, step) -> None:
        for prefix in self.prefixes(path, start):
            key = (space, prefix)
            if key not in self.known:
                self.known[key] = (slots[len(prefix) - start - 1], step)

    # ---- rules

    @rule(path=PATHS, space=SPACES, ahead=st.integers(-1, 1))
    def match(self, path, space, ahead) -> None:
        step = self.step_number + ahead
        found = self.both(lambda w: w.tree.match(array(path), end=len(path), namespace=space, step=step).length)
        assert found == self.longest(space, path, step), "8, 10: not the longest prefix that is ready"

    @rule(path=PATHS, space=SPACES, num=st.sampled_from([1, 1, 3]), own=st.integers(0, 8))
    def lock(self, path, space, num, own) -> None:
        """Also a fork: several handles on one place."""

        def act(w):
            for _ in range(num):
                found = w.tree.match(array(path), end=len(path), namespace=space, step=self.step_number)
                w.handles.append(w.tree.lock(found, own=own))
                assert w.handles[-1].end == found.length
            return found.length

        length = self.both(act)
        is_late = any(self.known[space, prefix][1] == self.step_number for prefix in self.prefixes(path[:length]))
        self.held += [(space, tuple(path[:length]), is_late)] * num

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def unlock(self, data) -> None:
        index = data.draw(st.integers(0, len(self.held) - 1))
        if self.held[index][2]:
            return
        self.held.pop(index)
        self.both(lambda w: w.tree.unlock(w.handles.pop(index)))

    def offer(self, index, more, act):
        """Tokens computed behind a handle: given to the tree by `act(world, handle, ids, slots)`."""
        space, path, is_late = self.held[index]
        more = self.aligned(more)
        if is_late or not more or self.world.pool.free_len < len(more):
            return None
        whole = path + more
        ready = self.longest(space, whole, self.step_number - 1)
        is_blocked = ready < len(whole) and (space, whole[: ready + self.page_size]) in self.known
        told = []

        def run(w):
            slots = w.pool.allocate(len(more))
            told.append(slots.tolist())
            return act(w, w.handles[index], array(more), slots)

        got = self.both(run)
        if not is_blocked:
            self.learn(space, whole, len(path), told[0], 0)
        return space, whole, ready, is_blocked, got

    @precondition(lambda self: self.held)
    @rule(data=st.data(), more=PATHS)
    def insert(self, data, more) -> None:
        index = data.draw(st.integers(0, len(self.held) - 1))
        done = self.offer(index, more, lambda w, handle, ids, slots: w.tree.insert(handle, ids, slots).end)
        if done is not None:
            _, whole, ready, is_blocked, end = done
            assert end == (ready if is_blocked else len(whole))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), more=PATHS)
    def grow(self, data, more) -> None:
        """A request that decodes gives what it has so far, and goes on from there."""
        index = data.draw(st.integers(0, len(self.held) - 1))

        def act(w, handle, ids, slots):
            moved = w.tree.grow(handle, ids, slots)
            if moved is None:
                w.pool.free(slots)
                return None
            w.handles[index] = moved
            row = np.full(moved.end, -1, np.int32)
            w.tree.write_slots(moved, row, start=handle.end if handle.parent is None else 0)
            return row.tolist()

        done = self.offer(index, more, act)
        if done is not None:
            space, whole, _, is_blocked, row = done
            assert (row is None) == is_blocked
            if row is not None:
                self.held[index] = (space, whole, False)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), more=PATHS)
    def publish(self, data, more) -> None:
        """insert_pending: what the step is about to compute."""
        index = data.draw(st.integers(0, len(self.held) - 1))
        space, path, _ = self.held[index]
        more = self.aligned(more)
        if not more or self.world.pool.free_len < len(more):
            return
        told = []

        def act(w):
            slots = w.pool.allocate(len(more))
            moved = w.tree.publish(w.handles[index], array(more), slots, step=self.step_number)
            told.append(slots.tolist())
            if moved is None:
                w.pool.free(slots)
            else:
                w.handles[index] = moved
            return moved is None

        is_shared = (space, path + more[: self.page_size]) in self.known
        assert self.both(act) == is_shared
        if not is_shared:
            self.held[index] = (space, path + more, True)
            self.learn(space, path + more, len(path), told[0], self.step_number)

    @rule()
    def commit(self) -> None:
        def act(w):
            w.tree.commit(self.step_number)
            w.pool.release(self.step_number)

        self.both(act)
        self.step_number += 1
        self.held = [(space, path, False) for space, path, _ in self.held]

    @rule()
    def abort(self) -> None:
        """The step failed: everybody who holds what it computes lets go; then it is forgotten."""
        for index in reversed(range(len(self.held))):
            if self.held[index][2]:
                self.held.pop(index)
                self.both(lambda w, index=index: w.tree.unlock(w.handles.pop(index)))

        def act(w):
            w.tree.discard(self.step_number)
            w.pool.release(self.step_number)

        self.both(act)
        self.known = {key: entry for key, entry in self.known.items() if entry[1] != self.step_number}
        self.step_number += 1

    @rule(num_pages=st.integers(1, 6))
    def take_private(self, num_pages) -> None:
        """Slots of a decoding row, which no tree knows."""
        size = num_pages * self.page_size
        if self.world.pool.free_len >= size:
            self.both(lambda w: w.private.append(w.pool.allocate(size)))

    @precondition(lambda self: self.world.private)
    @rule(data=st.data(), is_fenced=st.booleans())
    def retract(self, data, is_fenced) -> None:
        index = data.draw(st.integers(0, len(self.world.private) - 1))
        fence = self.step_number if is_fenced else None
        self.both(lambda w: w.pool.free(w.private.pop(index), fence=fence))

    @rule(path=PATHS, space=SPACES)
    def pin(self, path, space) -> None:
        """Of whatever the tree has of a path."""

        def act(w):
            handle = w.tree.lock(w.tree.match(array(path), end=len(path), namespace=space, step=self.step_number - 1))
            w.tree.pin(handle)
            w.pins.append(handle)
            w.tree.unlock(handle)

        self.both(act)

    @rule(path=PATHS, space=SPACES, steps=st.integers(0, 9))
    def lease(self, path, space, steps) -> None:
        """A live program will go on from there; its graph may say when."""

        def act(w):
            found = w.tree.match(array(path), end=len(path), namespace=space, step=self.step_number - 1)
            w.leases.append(w.tree.lease(found, steps))

        self.both(act)

    @precondition(lambda self: self.world.leases)
    @rule(data=st.data(), path=PATHS, space=SPACES)
    def follow(self, data, path, space) -> None:
        """What a program will need is somewhere else now, or is watched."""
        index = data.draw(st.integers(0, len(self.world.leases) - 1))

        def act(w):
            found = w.tree.match(array(path), end=len(path), namespace=space, step=self.step_number - 1)
            hold = w.leases[index]
            w.tree.follow(hold, found)
            assert w.tree.wait(Match(hold.node, hold.node.end), array(path), "me", is_now=False) is not None

        self.both(act)

    @precondition(lambda self: self.world.pins or self.world.leases)
    @rule(data=st.data(), resume=st.booleans())
    def let_go(self, data, resume) -> None:
        name = "pins" if not self.world.leases else "leases"
        index = data.draw(st.integers(0, len(getattr(self.world, name)) - 1))

        def act(w):
            held = getattr(w, name).pop(index)
            if name == "pins":
                w.tree.unpin(held)
            else:
                if resume:
                    w.tree.resume(held)
                w.tree.unlease(held)

        self.both(act)

    @rule(path=PATHS, space=SPACES)
    def wait(self, path, space) -> None:
        """A waiting request splits the tree where its path may grow."""

        def act(w):
            found = w.tree.match(array(path), end=len(path), namespace=space, step=self.step_number - 1)
            return w.tree.wait(found, array(path), "me") is None

        self.both(act)

    @rule(num_tokens=st.integers(0, 40))
    def evict(self, num_tokens) -> None:
        evictable, before = self.world.tree.evictable_len, self.world.tree.total_len
        freed = self.both(lambda w: w.tree.evict(num_tokens))
        assert freed >= min(num_tokens, evictable), "11: too little was evicted"
        assert freed <= max(0, num_tokens + self.page_size - 1)
        assert before - self.world.tree.total_len == freed
        there = {
            (space, path[: node.end - node.key.size + at])
            for space, path, node in walk(self.world.tree)
            for at in range(self.page_size, node.key.size + 1, self.page_size)
        }
        gone = [key for key in self.known if key not in there]
        assert len(gone) * self.page_size == freed
        for key in gone:
            del self.known[key]

    @rule()
    def flush(self) -> None:
        self.evict(10**6)
        self.both(lambda w: w.tree.flush())
        if not self.held:
            tree = self.world.tree
            assert (tree.total_len, tree.evictable_len, len(tree.order)) == (0, 0, 0), "13: not as in the beginning"
            assert not any(root.children or root.lock for root in tree.roots.values()), "13"
            assert tree.stats().num_nodes == len(tree.roots), "13"

    # ---- invariants

    @invariant()
    def holds(self) -> None:
        if not hasattr(self, "worlds"):
            return
        assert self.worlds[0].shape() == self.worlds[1].shape(), "14: the same calls built different trees"
        world = self.world
        tree, pool = world.tree, world.pool
        parts = tree.check()  # 2, 3, 5, 6
        slots = np.concatenate([*parts, pool.free_slots(), pool.fenced_slots(), *world.private])
        assert sorted(slots.tolist()) == list(range(NUM_SLOTS)), "1: a slot has two owners or none"
        below = Counter((space, path[:end]) for space, path, _ in self.held for end in range(1, len(path) + 1))
        in_tree = {}
        for space, path, node in walk(tree):
            assert node.lock == below[space, path], "4: a lock that is not the number of handles below"
            for at in range(self.page_size, node.key.size + 1, self.page_size):
                in_tree[space, path[: node.end - node.key.size + at]] = int(node.slots[at - 1])
        assert in_tree == {key: slot for key, (slot, _) in self.known.items()}, "9: a token changed its slot"
        for handle, (space, path, _) in zip(world.handles, self.held, strict=True):
            row = np.full(len(path), -1, np.int32)
            tree.write_slots(handle, row, start=0)
            wanted = [self.known[space, prefix][0] for prefix in self.prefixes(path)]
            assert row[self.page_size - 1 :: self.page_size].tolist() == wanted, "7: what was locked is gone"
        if not self.held:
            assert tree.total_len == tree.evictable_len, "12: locked without a handle"


TestRadixTree = TreeMachine.TestCase
TestRadixTree.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


def test_a_broken_split_is_found(monkeypatch) -> None:
    """The machine can fail: a split that swaps two slots is seen."""
    split = RadixTree._split_at

    def broken(tree, match):
        node = split(tree, match)
        if len(node.slots) > 1:
            node.slots = node.slots[::-1].copy()
        return node

    monkeypatch.setattr(RadixTree, "_split_at", broken)
    machine = TreeMachine()
    machine.start(1, "lru")
    machine.lock([0], "", 1, 0)
    machine.offer(0, [0, 1, 2], lambda w, h, ids, slots: w.tree.insert(h, ids, slots).end)
    machine.holds()
    machine.lock([0, 1], "", 1, 0)
    with pytest.raises(AssertionError, match="9: "):
        machine.holds()
