"""Kept paths: names, time, room."""

from __future__ import annotations

import numpy as np
import pytest

from radixlang.radix_cache.slot_pool import SlotPool
from radixlang.radix_cache.tree import RadixTree
from radixlang.runtime.scheduler import leases as module
from radixlang.runtime.scheduler.leases import LEASE_TIMEOUT_S, Leases


@pytest.fixture
def kept():
    """Leases, and what keeps a path of n tokens under a name."""
    tree = RadixTree(SlotPool(1000))
    leases = Leases(tree)

    def keep(name, token, num_tokens=4, now_s=0.0):
        ids = np.full(num_tokens, token, np.int32)
        handle = tree.lock(tree.match(ids, end=ids.size))
        rest = ids.size - handle.end
        node = tree.insert(handle, ids[handle.end :], tree.pool.allocate(rest)) if rest else handle
        leases.keep(name, ids, node, "", now_s)
        tree.unlock(handle)
        return node

    return leases, keep, tree


def test_a_lease_ends_when_nobody_used_it_for_long(kept) -> None:
    leases, keep, _ = kept
    node = keep("a", 1)
    keep("b", 2)
    assert leases.use("a", LEASE_TIMEOUT_S - 1) is not None
    leases.expire(LEASE_TIMEOUT_S)
    assert leases.use("b", LEASE_TIMEOUT_S) is None
    leases.expire(2 * LEASE_TIMEOUT_S - 2)
    assert node.pins == 1
    leases.expire(2 * LEASE_TIMEOUT_S - 1)
    assert (len(leases), node.pins) == (0, 0)


def test_a_name_kept_again_means_its_new_path(kept) -> None:
    leases, keep, _ = kept
    old, new = keep("a", 1), keep("a", 2)
    assert (old.pins, new.pins) == (0, 1)
    assert leases.use("a", 0.0).ids.tolist() == [2] * 4
    same = keep("a", 2)
    assert same is new
    assert same.pins == 1


def test_two_names_may_keep_one_path(kept) -> None:
    leases, keep, tree = kept
    node = keep("a", 1)
    assert keep("b", 1) is node
    leases.release("a")
    leases.release("a")
    assert node.pins == 1
    keep("c", 9)
    leases.release("c")
    assert tree.evict(4) == 4
    assert tree.match(np.full(4, 1, np.int32), end=4).length == 4


def test_the_oldest_leases_make_room(kept, monkeypatch) -> None:
    leases, keep, _ = kept
    monkeypatch.setattr(module, "_MAX_IDS", 10)
    for number, name in enumerate("abc"):
        keep(name, number + 1)
    assert [leases.use(name, 0.0) is not None for name in "abc"] == [False, True, True]
