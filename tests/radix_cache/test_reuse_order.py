"""What program-gdsf learns of how prefixes come back."""

from __future__ import annotations

import random

import numpy as np
import pytest

from radixlang.radix_cache.interface import Match
from radixlang.radix_cache.reuse_order import ReuseOrder, _Foresight


def ids_of(document: int) -> np.ndarray:
    return np.arange(1000 * document, 1000 * document + 64, dtype=np.int32)


def serve(tree, document: int) -> bool:
    """Asks for a document of 64 tokens; whether the cache still had it."""
    ids, cache = ids_of(document), tree.tree
    match = cache.match(ids, end=64)
    handle = cache.lock(match)
    missing = 64 - match.length
    if missing:
        if tree.pool.free_len < missing:
            cache.evict(missing - tree.pool.free_len)
        cache.insert(handle, ids[match.length :], tree.pool.allocate(missing))
    cache.unlock(handle)
    return not missing


def hit_rate(make_tree, policy: str, asked: list[int], num_documents: int) -> float:
    tree = make_tree(policy=policy, num_slots=64 * num_documents)
    hits = [serve(tree, document) for document in asked]
    tree.tree.check()
    return sum(hits) / len(hits)


def people(num: int, seed: int) -> list[int]:
    """Documents whose readers come back after a heavy-tailed while, however long the last one was."""
    draw = random.Random(seed)
    due = {document: draw.lognormvariate(3, 1.5) for document in range(60)}
    asked = []
    for _ in range(num):
        document = min(due, key=due.__getitem__)
        asked.append(document)
        due[document] += draw.lognormvariate(3, 1.5)
    return asked


def test_a_loop_a_little_larger_than_the_pool_is_kept_in_part(make_tree) -> None:
    loop = [i % 20 for i in range(1500)]
    assert hit_rate(make_tree, "lru", loop, 12) == 0.0
    assert hit_rate(make_tree, "program-gdsf", loop, 12) > 0.4


def test_popular_documents_are_kept_though_they_come_at_random(make_tree) -> None:
    draw = np.random.default_rng(3)
    asked = np.minimum(draw.zipf(1.3, 3000) - 1, 200).tolist()
    assert hit_rate(make_tree, "program-gdsf", asked, 8) > hit_rate(make_tree, "lru", asked, 8)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_where_people_come_when_they_like_it_is_no_worse_than_lru(make_tree, seed: int) -> None:
    asked = people(3000, seed)
    assert hit_rate(make_tree, "program-gdsf", asked, 15) > 0.97 * hit_rate(make_tree, "lru", asked, 15)


def test_intervals_are_believed_once_they_foretold_the_next_ones() -> None:
    foresight = _Foresight()
    assert not foresight.is_good
    for interval in (10.0, 300.0, 40.0) * 4:
        foresight.add(interval, 1.1 * interval)
    assert foresight.is_good


def test_intervals_that_foretell_nothing_are_not_believed() -> None:
    foresight, draw = _Foresight(), random.Random(5)
    for _ in range(200):
        foresight.add(draw.lognormvariate(3, 1), draw.lognormvariate(3, 1))
    assert not foresight.is_good


def held_for(tree, document: int, steps: int):
    """Caches a document, and holds it for a program that comes back after so many calls."""
    serve(tree, document)
    cache = tree.tree
    return cache.lease(cache.match(ids_of(document), end=64), steps)


def test_of_paths_that_programs_hold_the_one_needed_last_goes_first(make_tree) -> None:
    tree = make_tree(policy="program-gdsf", num_slots=256)
    for document, steps in enumerate((5, 1, 9, 2)):
        held_for(tree, document, steps)
    for left in ({0, 1, 3}, {1, 3}, {1}):
        tree.tree.evict(64)
        assert {document for document in range(4) if tree.tree.match(ids_of(document), end=64).length} == left
        tree.tree.check()


def test_the_sooner_of_two_programs_counts_as_long_as_it_is_expected(make_tree) -> None:
    tree = make_tree(policy="program-gdsf", num_slots=192)
    cache = tree.tree
    late, soon = held_for(tree, 0, 9), held_for(tree, 0, 1)
    held_for(tree, 1, 5)
    assert late.node is soon.node
    cache.resume(soon)
    cache.unlease(soon)
    cache.check()
    cache.evict(64)
    assert [cache.match(ids_of(document), end=64).length for document in (0, 1)] == [0, 64]


def test_a_hold_may_end_inside_a_node_and_outlive_what_it_held(make_tree) -> None:
    tree = make_tree(policy="program-gdsf", num_slots=128)
    serve(tree, 0)
    cache, ids = tree.tree, ids_of(0)
    node = cache.match(ids, end=64).node
    hold = cache.lease(Match(node, 40), 3)
    cache.evict(24)
    assert cache.match(ids, end=64).length == 40
    cache.evict(40)
    assert cache.match(ids, end=64).length == 0
    cache.resume(hold)
    cache.unlease(hold)
    cache.check()


def test_how_long_calls_take_is_measured(make_tree) -> None:
    order = ReuseOrder()
    unknown = order.foretold(4)
    for _ in range(5):
        order.resumed(200, 1)
        order.resumed(600, 6)
    assert order.foretold(1) == pytest.approx(200.0)
    assert order.foretold(7) == pytest.approx(700.0)
    assert order.foretold(64) == pytest.approx(6400.0)  # as the calls that are known best
    assert unknown is not None


def test_waits_that_calls_do_not_explain_are_not_foretold() -> None:
    order, draw = ReuseOrder(), random.Random(7)
    for _ in range(300):
        order.resumed(int(1 + draw.lognormvariate(4, 2)), 1)
    assert order.foretold(1) is None


def test_what_has_shown_that_it_does_not_come_back_goes_before_what_programs_hold(make_tree) -> None:
    tree = make_tree(policy="program-gdsf", num_slots=64 * 8)
    cache = tree.tree
    for document in range(100, 180):  # asked once each: none comes back
        serve(tree, document)
    holds = [held_for(tree, document, 1) for document in range(4)]
    for hold in holds[:2]:  # programs take their time
        for document in range(200, 230):
            serve(tree, document)
        cache.resume(hold)
    for document in range(300, 308):
        serve(tree, document)
    assert [cache.match(ids_of(document), end=64).length for document in range(4)] == [64] * 4
    cache.check()
