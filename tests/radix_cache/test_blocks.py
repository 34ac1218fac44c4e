"""Blocks follow any tree: what is told as stored and not removed is exactly what the tree holds in whole blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from radixlang.radix_cache.blocks import BlockMirror, BlocksRemoved, BlocksStored
from radixlang.radix_cache.events import EventLog

PATHS = st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=30), min_size=1, max_size=12)
SIZE = 4


def reader(told, held):
    """A router that knows blocks alone: {hash: (parent, tokens)}."""
    for event in told:
        if isinstance(event, BlocksRemoved):
            for named in event.hashes:
                del held[named]
            continue
        parent = event.parent_hash
        for place, named in enumerate(event.hashes):
            assert named not in held, "a block is stored twice"
            held[named] = (parent, tuple(event.token_ids[place * SIZE : (place + 1) * SIZE]))
            parent = named
    return held


def blocks_of(tree, mirror):
    """What a walk over the tree says."""
    found = {}
    for namespace, root in tree.roots.items():
        stack = [(root, ())]
        while stack:
            node, path = stack.pop()
            path += tuple(node.key.tolist())
            stack += [(child, path) for child in node.children.values()]
            parent = None
            for at in range(SIZE, len(path) + 1, SIZE):
                tokens = np.array(path[at - SIZE : at], np.int32)
                named = mirror._hash(parent, tokens, namespace)
                found[named] = (parent, tuple(tokens.tolist()))
                parent = named
    return found


@settings(max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(paths=PATHS, evictions=st.lists(st.integers(0, 20), min_size=1, max_size=12), page_size=st.sampled_from([1, 2]))
def test_a_reader_of_blocks_knows_the_tree(make_tree, paths, evictions, page_size) -> None:
    log = EventLog()
    tree = make_tree(num_slots=512, page_size=page_size, policy="program-gdsf", events=log)
    mirror, held = BlockMirror(SIZE, "model"), {}
    for number, path in enumerate(paths):
        path = path[: len(path) - len(path) % page_size]
        if path:
            tree.fill(*path, namespace=("", "salt")[number % 2])
        tree.tree.evict(evictions[number % len(evictions)])
        reader(mirror.apply(log.drain()), held)
        assert held == blocks_of(tree.tree, mirror)
        assert reader(mirror.snapshot(), {}) == held
    tree.tree.flush()
    assert reader(mirror.apply(log.drain()), held) == {}


def test_hashes_depend_on_all_that_k_and_v_depend_on() -> None:
    def name(identity="m", namespace="", tokens=(1, 2, 3, 4), before=None):
        return BlockMirror(SIZE, identity)._hash(before, np.array(tokens, np.int32), namespace)

    names = {name(), name(identity="n"), name(namespace="s"), name(tokens=(1, 2, 3, 5)), name(before=7)}
    assert len(names) == 5
    assert name() == name()
    assert all(0 <= one < 2**63 for one in names)


@pytest.mark.parametrize("length", [SIZE - 1, SIZE])
def test_only_whole_blocks_are_told(make_tree, length) -> None:
    log = EventLog()
    tree = make_tree(events=log)
    tree.fill(*range(length))
    told = BlockMirror(SIZE, "m").apply(log.drain())
    assert [type(event) for event in told] == ([BlocksStored] if length == SIZE else [])
