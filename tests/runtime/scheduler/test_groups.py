"""Which requests are grouped by prefix."""

from __future__ import annotations

import random
from types import SimpleNamespace

import numpy as np
import pytest

from radixlang.radix_cache.slot_pool import SlotPool
from radixlang.radix_cache.tree import RadixTree
from radixlang.runtime.scheduler.groups import MIN_SHARED_LEN, group_by_prefix


@pytest.fixture
def running():
    """Requests that run behind the given prompts."""

    def make(prompts):
        pool = SlotPool(1 << 14)
        tree = RadixTree(pool)
        requests = []
        for prompt in prompts:
            ids = np.array(prompt, np.int32)
            handle = tree.lock(tree.match(ids, end=ids.size, step=1))
            if handle.end < ids.size:
                rest = ids.size - handle.end
                handle = tree.publish(handle, ids[handle.end :], pool.allocate(rest), step=1)
            requests.append(SimpleNamespace(prompt=prompt, handle=handle))
        return [Hashable(request) for request in requests]

    return make


class Hashable:
    def __init__(self, request) -> None:
        self.prompt, self.handle = request.prompt, request.handle


def test_sharers_are_neighbours_in_one_group(running) -> None:
    stem, other = list(range(100)), list(range(500, 600))
    requests = running([[*stem, 1], [*other, 1], [*stem, 2], [*other, 2], [7]])
    order, groups = group_by_prefix(requests)
    assert sorted((end - first, length) for first, end, length in groups) == [(2, 100), (2, 100)]
    assert len(order) == len(requests)
    for first, end, length in groups:
        assert len({tuple(request.prompt[:length]) for request in order[first:end]}) == 1


def test_a_deep_share_beats_a_shallow_one_where_it_saves_more(running) -> None:
    system = list(range(40))
    deep = [system + [number] * 200 for number in (100, 101)]
    prompts = [[*prompt, tail] for prompt in deep for tail in (1, 2, 3)]
    _, groups = group_by_prefix(running(prompts))
    assert sorted(length for _, _, length in groups) == [240, 240]


def test_short_prefixes_are_not_worth_a_group(running) -> None:
    stem = list(range(MIN_SHARED_LEN - 1))
    _, groups = group_by_prefix(running([[*stem, 1], [*stem, 2]]))
    assert groups == []


def test_any_requests_are_ordered_whole_and_grouped_rightly(running) -> None:
    draw = random.Random(2)
    for _ in range(60):
        prompts = []
        for _ in range(draw.randrange(0, 12)):
            prompts.append([draw.randrange(2) for _ in range(3) for _ in range(20)][: draw.randrange(1, 60)])
            prompts.append([0] * draw.randrange(1, 70) + [draw.randrange(3)])
        requests = running(prompts)
        order, groups = group_by_prefix(requests)
        assert sorted(map(id, order)) == sorted(map(id, requests))
        last_end = 0
        for first, end, length in groups:
            assert last_end <= first < end - 1
            assert length >= MIN_SHARED_LEN
            assert len({tuple(request.prompt[:length]) for request in order[first:end]}) == 1
            assert all(len(request.prompt) >= length for request in order[first:end])
            last_end = end
