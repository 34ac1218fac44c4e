"""The radix tree by example."""

from __future__ import annotations

import numpy as np
import pytest

from radixlang.errors import ConfigError
from radixlang.radix_cache.events import EventLog, Evicted, Split, Stored
from radixlang.radix_cache.interface import Match


def ids_of(*token_ids):
    return np.array(token_ids, np.int32)


def test_a_match_is_the_longest_known_prefix(tree) -> None:
    tree.fill(1, 2, 3, 4)
    tree.fill(1, 2, 7)
    assert tree.cached(1, 2, 3, 9) == 3
    assert tree.cached(1, 2, 7, 8) == 3
    assert tree.cached(2, 1) == 0


def test_a_match_ends_at_a_whole_page(make_tree) -> None:
    tree = make_tree(page_size=4)
    tree.fill(*range(12))
    assert tree.cached(*range(11)) == 8
    assert tree.cached(0, 1, 2, 3, 4, 5, 99, 7) == 4


def test_a_match_changes_nothing(tree) -> None:
    tree.fill(1, 2, 3, 4)
    before = tree.tree.stats()
    tree.cached(1, 2, 9)
    assert tree.tree.stats() == before


def test_a_match_inside_a_node_is_a_place(tree) -> None:
    tree.fill(1, 2, 3)
    found = tree.tree.match(ids_of(1, 2, 9), end=3)
    assert found == Match(tree.tree.roots[""].children[1], 2)


def test_sharers_get_the_same_slots(tree) -> None:
    first = tree.fill(1, 2, 3, 4)
    second = tree.fill(1, 2, 9)
    assert first[:2] == second[:2]


def test_what_is_computed_twice_is_kept_once(tree) -> None:
    tree.fill(1, 2, 3)
    root = tree.tree.lock(tree.tree.match(ids_of(1), end=0))
    tree.tree.insert(root, ids_of(1, 2, 3, 4), tree.pool.allocate(4))
    assert tree.pool.free_len == 64 - 4
    assert tree.tree.stats().duplicate_len == 3


def test_a_locked_prefix_survives_eviction(tree) -> None:
    handle, _slots = tree.fill(1, 2, 3, 4, lock=True)
    tree.fill(1, 2, 9)
    assert tree.tree.evict(100) == 1
    assert tree.cached(1, 2, 3, 4) == 4
    tree.tree.unlock(handle)
    assert tree.tree.evict(100) == 4


def test_a_lock_inside_a_node_holds_only_what_was_matched(tree) -> None:
    tree.fill(1, 2, 3, 4)
    handle = tree.tree.lock(tree.tree.match(ids_of(1, 2, 5), end=3))
    assert handle.end == 2
    assert tree.tree.evict(100) == 2
    assert tree.cached(1, 2, 3, 4) == 2


def test_eviction_takes_only_the_tail_that_is_needed(make_tree) -> None:
    tree = make_tree(page_size=2)
    tree.fill(*range(10))
    assert tree.tree.evict(3) == 4
    assert tree.cached(*range(10)) == 6
    tree.tree.check()


def test_eviction_of_nothing_is_safe(tree) -> None:
    assert tree.tree.evict(0) == 0
    assert tree.tree.evict(5) == 0


def test_a_pinned_path_goes_last(tree) -> None:
    tree.fill(1, 2)
    node = tree.tree.match(ids_of(1, 2), end=2).node
    tree.tree.pin(node)
    tree.fill(5, 6)
    tree.tree.evict(2)
    assert (tree.cached(1, 2), tree.cached(5, 6)) == (2, 0)
    tree.fill(5, 6)
    tree.tree.unpin(node)
    tree.tree.evict(2)
    assert (tree.cached(1, 2), tree.cached(5, 6)) == (0, 2)


def test_namespaces_share_nothing(tree) -> None:
    tree.fill(1, 2, 3, namespace="a")
    assert tree.cached(1, 2, 3, namespace="b") == 0
    assert tree.cached(1, 2, 3, namespace="a") == 3


def test_what_a_step_computes_is_shared_in_it_and_after(tree) -> None:
    root = tree.tree.lock(tree.tree.match(ids_of(1), end=0))
    handle = tree.tree.publish(root, ids_of(1, 2, 3), tree.pool.allocate(3), step=7)
    assert [tree.cached(1, 2, 3, step=step) for step in (6, 7, 8)] == [0, 3, 3]
    tree.tree.unlock(handle)
    tree.tree.commit(7)
    tree.tree.check()


def test_nobody_publishes_what_others_share(tree) -> None:
    tree.fill(1, 2, 3)
    root = tree.tree.lock(tree.tree.match(ids_of(1), end=0))
    slots = tree.pool.allocate(2)
    assert tree.tree.publish(root, ids_of(1, 2), slots, step=1) is None
    tree.pool.free(slots)


def test_a_failed_step_leaves_nothing_behind(tree) -> None:
    root = tree.tree.lock(tree.tree.match(ids_of(1), end=0))
    handle = tree.tree.publish(root, ids_of(1, 2, 3), tree.pool.allocate(3), step=7)
    sharer = tree.tree.lock(tree.tree.match(ids_of(1, 2), end=2, step=7))
    tree.tree.unlock(handle)
    tree.tree.unlock(sharer)
    tree.tree.discard(7)
    assert tree.tree.total_len == 0
    assert tree.pool.free_len == 64
    tree.tree.check()


def test_a_failed_step_takes_a_fork_of_what_it_was_to_compute(tree) -> None:
    handles = []
    for ids in (ids_of(1, 2, 3), ids_of(1, 2, 3), ids_of(1, 2, 4, 5)):  # used alike but for the last, which goes first
        match = tree.tree.match(ids, end=ids.size, step=7)
        handle = tree.tree.lock(match)
        if (new := ids[match.length :]).size:
            handle = tree.tree.publish(handle, new, tree.pool.allocate(new.size), step=7)
        handles.append(handle)
    for handle in handles:
        tree.tree.unlock(handle)
    tree.tree.discard(7)
    assert tree.tree.total_len == 0
    assert tree.pool.free_len == 64
    tree.tree.check()


def test_a_waiter_is_woken_when_its_path_grows(tree) -> None:
    tree.fill(1, 2, 3)
    ids = ids_of(1, 2, 9, 9)
    tree.tree.wait(tree.tree.match(ids, end=4), ids, "me")
    tree.fill(1, 2, 5)
    assert tree.tree.woken == []
    tree.fill(1, 2, 9)
    assert tree.tree.woken == ["me"]


def test_a_waiter_is_woken_when_its_path_is_evicted(tree) -> None:
    tree.fill(1, 2, 3)
    ids = ids_of(1, 2, 3, 4)
    tree.tree.wait(tree.tree.match(ids, end=4), ids, "me")
    tree.tree.evict(1)
    assert tree.tree.woken == ["me"]


def test_clip_keeps_whole_pages(make_tree) -> None:
    tree = make_tree(page_size=2)
    tree.fill(*range(4))
    tree.fill(*range(8))
    match = tree.tree.match(ids_of(*range(8)), end=8)
    assert [tree.tree.clip(match, n).length for n in (0, 1, 3, 4, 5, 8, 9)] == [0, 0, 2, 4, 4, 8, 8]
    for n in (0, 3, 4, 8):
        clipped = tree.tree.clip(match, n)
        assert clipped.node.start <= clipped.length <= clipped.node.end


def test_a_mirror_can_follow_the_events(make_tree) -> None:
    log = EventLog()
    tree = make_tree(events=log)
    tree.fill(1, 2, 3, 4, namespace="n")
    tree.fill(1, 2, 9, namespace="n")
    tree.tree.evict(1)
    events = log.drain()
    assert [type(event) for event in events] == [Stored, Split, Stored, Evicted]
    assert (events[0].namespace, events[0].token_ids, events[1].length) == ("n", [1, 2, 3, 4], 2)
    assert (events[2].parent_id, events[3].length) == (events[1].upper_id, 1)
    assert not log.missed


def test_a_slow_reader_of_events_is_told() -> None:
    log = EventLog(max_events=1)
    log.add(Evicted(1, 0))
    log.add(Evicted(2, 0))
    assert log.missed
    assert log.drain() == [Evicted(2, 0)]


def test_many_namespaces_do_not_pile_up(tree) -> None:
    for number in range(3000):
        assert tree.cached(1, 2, namespace=f"salt {number}") == 0
    assert len(tree.tree.roots) <= 1025


def test_an_unknown_policy_is_refused(make_tree) -> None:
    with pytest.raises(ConfigError, match="program-gdsf"):
        make_tree(policy="random")


def test_a_match_is_of_the_path_only(tree) -> None:
    """A handle stays valid, and means the same path, when others split its node."""
    handle, slots = tree.fill(1, 2, 3, 4, 5, lock=True)
    tree.fill(1, 2, 9)
    tree.tree.lock(Match(handle, 4))
    row = np.zeros(5, np.int32)
    tree.tree.write_slots(handle, row, start=0)
    assert row.tolist() == slots.tolist()
    tree.tree.check()
