"""What followed before: against a plain list of sequences, through splits, joins and evictions."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from radixlang.radix_cache.continuation import Place, advance, following, ways
from radixlang.radix_cache.slot_pool import SlotPool
from radixlang.radix_cache.tree import RadixTree


def fill(tree, sequence, namespace=""):
    """Inserts the whole pages of `sequence` as a request would that computed them."""
    ids = np.array(sequence, np.int32)
    whole = ids.size - ids.size % tree.page_size
    handle = tree.lock(tree.match(ids, end=whole, namespace=namespace))
    if whole > handle.end:
        tree.insert(handle, ids[handle.end : whole], tree.pool.allocate(whole - handle.end))
    tree.unlock(handle)


def root_place(tree, namespace=""):
    handle = tree.match(np.zeros(0, np.int32), end=0, namespace=namespace).node
    return Place(handle, 0)


def ask(tree, sequence, num_tokens):
    ids = np.array(sequence, np.int32)
    place = advance(root_place(tree), ids, ids.size, tree.page_size)
    return None if place is None else following(place, num_tokens).tolist()


def test_a_path_goes_on_as_it_did_before() -> None:
    tree = RadixTree(SlotPool(64))
    fill(tree, [1, 2, 3, 4, 5, 6])
    assert ask(tree, [1, 2, 3], 2) == [4, 5]
    assert ask(tree, [1, 2, 3], 9) == [4, 5, 6]
    assert ask(tree, [1, 2, 3, 4, 5, 6], 9) == []
    assert ask(tree, [1, 2, 9], 9) is None
    assert ask(tree, [1, 2, 3, 4, 5, 6, 7], 9) is None


def test_where_paths_part_the_one_used_last_is_taken() -> None:
    tree = RadixTree(SlotPool(64))
    fill(tree, [1, 2, 3, 4])
    fill(tree, [1, 2, 7, 8])
    assert ask(tree, [1, 2], 3) == [7, 8]
    handle = tree.lock(tree.match(np.array([1, 2, 3, 4], np.int32), end=4))
    tree.unlock(handle)
    assert ask(tree, [1, 2], 3) == [3, 4]


@pytest.mark.parametrize("page_size", [2, 4])
def test_a_page_that_is_begun_goes_on_in_a_child_that_begins_so(page_size) -> None:
    tree = RadixTree(SlotPool(64, page_size))
    fill(tree, list(range(1, 13)))
    for known in range(1, 12):
        assert ask(tree, list(range(1, known + 1)), 3) == list(range(known + 1, min(known + 4, 13)))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    sequences=st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=14), min_size=1, max_size=8),
    asked=st.lists(st.integers(0, 2), max_size=14),
    page_size=st.sampled_from([1, 1, 2, 4]),
    steps=st.lists(st.integers(0, 3), min_size=1, max_size=6),
    evict=st.lists(st.integers(0, 6), max_size=4),
)
def test_it_tells_only_what_the_tree_holds_whatever_happened_to_an_old_place(
    sequences, asked, page_size, steps, evict
) -> None:
    tree = RadixTree(SlotPool(256, page_size), policy="lru")
    ids = np.array(asked + sequences[0], np.int32)
    place, known = root_place(tree), 0
    for sequence, more, freed in zip(sequences, steps * 8, evict + [0] * 8, strict=False):
        fill(tree, sequence)
        tree.evict(freed)
        known = min(ids.size, known + more)
        held = {tuple(path[:end]) for path in paths(tree) for end in range(len(path) + 1)}
        found = advance(place, ids, known, page_size)
        fresh = advance(root_place(tree), ids, known, page_size)
        if found is not None:
            follow = following(found, 5).tolist()
            assert tuple(ids[:known].tolist() + follow) in held
        if page_size == 1:
            assert (fresh is not None) == (tuple(ids[:known].tolist()) in held)
        place = found if found is not None else fresh if fresh is not None else root_place(tree)
        if found is None and fresh is None:
            known = 0


def paths(tree):
    """Every path from the root to a leaf, as ids."""
    out = []

    def walk(node, before):
        path = before + node.key.tolist()
        if not node.children:
            out.append(path)
        for child in node.children.values():
            walk(child, path)

    for root in tree.roots.values():
        walk(root, [])
    return out


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    sequences=st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9), min_size=1, max_size=8),
    known=st.integers(0, 4),
    depth=st.integers(1, 8),
    most=st.integers(1, 12),
)
def test_the_ways_from_a_place_are_what_the_tree_holds_those_used_last_first(sequences, known, depth, most) -> None:
    tree = RadixTree(SlotPool(256))
    for sequence in sequences:
        fill(tree, sequence)
    begun = sequences[-1][:known]
    place = advance(root_place(tree), np.array(begun, np.int32), len(begun), 1)
    assert place is not None
    ids, parents = ways(place, depth, most)
    if parents is None:
        assert ids.tolist() == following(place, depth).tolist()
        return
    told = [[]]
    for token, parent in zip(ids.tolist(), parents.tolist(), strict=True):
        assert parent < len(told) - 1
        told.append([*told[parent + 1], token])
    held = {tuple(s[len(begun) : end]) for s in sequences if s[: len(begun)] == begun for end in range(len(s) + 1)}
    held = {way for way in held if 0 < len(way) <= depth}
    told = [tuple(way) for way in told[1:]]
    assert len(set(told)) == len(told) == min(most, len(held))
    assert set(told) <= held
    assert told[0] == tuple(following(place, 1).tolist())
