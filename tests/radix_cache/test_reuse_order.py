"""What program-gdsf learns of how prefixes come back."""

from __future__ import annotations

import random

import numpy as np
import pytest

from radixlang.radix_cache.reuse_order import _Foresight


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
