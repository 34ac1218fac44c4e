"""Order of eviction, policy by policy."""

from __future__ import annotations

import numpy as np
import pytest


def use(tree, *token_ids):
    ids = np.array(token_ids, np.int32)
    tree.tree.unlock(tree.tree.lock(tree.tree.match(ids, end=ids.size)))


def order_of_eviction(tree, *paths):
    order = []
    while tree.tree.total_len:
        tree.tree.evict(1)
        order.extend(path for path in paths if path not in order and tree.cached(*path) < len(path))
    return order


def test_lru_evicts_what_was_used_longest_ago(make_tree) -> None:
    tree = make_tree(policy="lru")
    for path in [(1,), (2,), (3,)]:
        tree.fill(*path)
    use(tree, 1)
    assert order_of_eviction(tree, (1,), (2,), (3,)) == [(2,), (3,), (1,)]


def test_lfu_evicts_what_was_used_least(make_tree) -> None:
    tree = make_tree(policy="lfu")
    for path in [(1,), (2,), (3,)]:
        tree.fill(*path)
    for token in (1, 1, 3, 2, 2, 3, 2):
        use(tree, token)
    assert order_of_eviction(tree, (1,), (2,), (3,)) == [(1,), (3,), (2,)]


def test_slru_protects_what_was_used_twice(make_tree) -> None:
    tree = make_tree(policy="slru")
    for path in [(1,), (2,), (3,)]:
        tree.fill(*path)
    for token in (1, 1, 2, 3):
        use(tree, token)
    assert order_of_eviction(tree, (1,), (2,), (3,)) == [(2,), (3,), (1,)]


def test_gdsf_ages_what_was_popular_once(make_tree) -> None:
    tree = make_tree(policy="program-gdsf", num_slots=8)
    tree.fill(99)
    for _ in range(3):
        use(tree, 99)
    for token in range(50):
        if tree.pool.free_len == 0:
            tree.tree.evict(1)
        tree.fill(token)
        use(tree, token)
    assert tree.cached(99) == 0


@pytest.mark.parametrize("policy", ["lru", "lfu", "slru", "program-gdsf"])
def test_a_parent_never_goes_before_its_children(make_tree, policy) -> None:
    tree = make_tree(policy=policy)
    tree.fill(1, 2)
    tree.fill(1, 2, 3, 4)
    tree.fill(1, 2, 5)
    use(tree, 1, 2, 5)
    while tree.tree.evict(1):
        tree.tree.check()
    assert tree.pool.free_len == 64
