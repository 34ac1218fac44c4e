"""A tree over a small pool, and ids as arrays."""

from __future__ import annotations

import numpy as np
import pytest

from radixlang.radix_cache.slot_pool import SlotPool
from radixlang.radix_cache.tree import RadixTree


def ids_of(*token_ids):
    return np.array(token_ids, np.int32)


class TreeHarness:
    """Fills a tree the way a scheduler does: match, lock, insert the rest, unlock."""

    def __init__(self, num_slots=64, page_size=1, policy="lru", events=None):
        self.pool = SlotPool(num_slots, page_size)
        self.tree = RadixTree(self.pool, policy=policy, events=events)

    def fill(self, *token_ids, namespace="", lock=False):
        """The path's slots; with `lock` (handle, slots)."""
        ids = ids_of(*token_ids)
        handle = self.tree.lock(self.tree.match(ids, end=ids.size, namespace=namespace))
        rest = ids.size - handle.end
        end = self.tree.insert(handle, ids[handle.end :], self.pool.allocate(rest)) if rest else handle
        self.tree.unlock(handle)
        slots = np.zeros(ids.size, np.int32)
        self.tree.write_slots(end, slots, start=0)
        self.tree.check()
        if lock:
            return self.tree.lock(self.tree.match(ids, end=ids.size, namespace=namespace)), slots
        return slots.tolist()

    def cached(self, *token_ids, namespace="", step=0):
        ids = ids_of(*token_ids)
        return self.tree.match(ids, end=ids.size, namespace=namespace, step=step).length


@pytest.fixture
def make_tree():
    return TreeHarness


@pytest.fixture
def tree():
    return TreeHarness()
