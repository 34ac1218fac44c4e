"""Kept paths: names, time, room."""

from __future__ import annotations

import numpy as np
import pytest

from radixlang.radix_cache.slot_pool import SlotPool
from radixlang.radix_cache.tree import RadixTree
from radixlang.runtime.messages import Expected
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
    assert node.leases == 1
    leases.expire(2 * LEASE_TIMEOUT_S - 1)
    assert (len(leases), node.leases) == (0, 0)


def test_a_name_kept_again_means_its_new_path(kept) -> None:
    leases, keep, _ = kept
    old, new = keep("a", 1), keep("a", 2)
    assert (old.leases, new.leases) == (0, 1)
    assert leases.use("a", 0.0).ids.tolist() == [2] * 4
    same = keep("a", 2)
    assert same is new
    assert same.leases == 1


def test_two_names_may_keep_one_path(kept) -> None:
    leases, keep, tree = kept
    node = keep("a", 1)
    assert keep("b", 1) is node
    leases.release("a")
    leases.release("a")
    assert node.leases == 1
    keep("c", 9)
    leases.release("c")
    assert tree.evict(4) == 4
    assert tree.match(np.full(4, 1, np.int32), end=4).length == 4


def test_the_oldest_leases_make_room(kept, monkeypatch) -> None:
    leases, keep, _ = kept
    monkeypatch.setattr(module, "_MAX_IDS", 10 + 2 * module._LEASE_IDS)
    for number, name in enumerate("abc"):
        keep(name, number + 1)
    assert [leases.use(name, 0.0) is not None for name in "abc"] == [False, True, True]


def test_a_lease_may_have_a_time_of_its_own(kept) -> None:
    leases, keep, _ = kept
    node = keep("a", 1)
    leases.keep("b", np.full(4, 1, np.int32), node, "", 0.0, timeout_s=10.0)
    leases.expire(9.0)
    assert leases.use("b", 9.0) is not None
    leases.expire(18.0)
    assert len(leases) == 2
    leases.expire(19.0)
    assert (len(leases), node.leases) == (1, 1)


def test_a_pin_runs_from_when_it_was_made_and_goes_last(kept) -> None:
    leases, keep, tree = kept
    keep("leased", 1)
    pinned = keep("b", 2)
    leases.pin("pin", np.full(4, 2, np.int32), pinned, "", 0.0, timeout_s=10.0)
    leases.release("b")
    assert (leases.num_pins, pinned.pins, pinned.leases) == (1, 1, 0)
    assert tree.evict(4) == 4
    assert tree.match(np.full(4, 2, np.int32), end=4).length == 4
    leases.use("pin", 9.0)
    leases.expire(10.0)
    assert (leases.num_pins, pinned.pins) == (0, 0)


def test_what_a_later_stream_begins_with_is_held_as_far_as_it_is_cached(kept) -> None:
    leases, keep, tree = kept
    keep("a", 1)
    leases.release("a")
    leases.expect(Expected("later", [1, 1, 1, 9, 9], 2), "", 0.0, 1)
    leases.expect(Expected("unknown", [7, 7], 2), "", 0.0, 1)
    held = tree.match(np.full(3, 1, np.int32), end=3).node
    assert (held.end, held.leases, len(held.dues)) == (3, 1, 1)
    leases.release("later")
    leases.release("unknown")
    assert (len(leases), held.leases, held.dues) == (0, 0, [])
    tree.check()


def test_a_hold_follows_what_is_expected_as_it_comes_and_goes(kept) -> None:
    leases, keep, tree = kept

    def look_again():
        told, tree.woken = tree.woken, []
        for lease in told:
            leases.look_again(lease, 1)
        return bool(told)

    def held():
        node = tree.match(np.full(6, 7, np.int32), end=6).node
        return node.end, node.leases, len(node.dues)

    leases.expect(Expected("later", [7] * 6, 2), "", 0.0, 1)
    keep("part", 7, 3)
    leases.release("part")
    assert look_again()
    assert held() == (3, 1, 1)
    keep("whole", 7, 6)
    leases.release("whole")
    assert look_again()
    assert held() == (6, 1, 1)
    keep("more", 7, 9)
    leases.release("more")
    assert not look_again()
    tree.evict(8)
    assert look_again()
    assert held() == (1, 1, 1)
    tree.check()
    leases.release("later")
    tree.evict(1)
    assert not look_again()
    assert (len(leases), tree.total_len) == (0, 0)
