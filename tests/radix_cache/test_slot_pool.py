"""Slots: runs, fences, and the audit's answers."""

from __future__ import annotations

import numpy as np
import pytest

from radixlang.errors import InternalError
from radixlang.radix_cache.slot_pool import SlotPool


@pytest.mark.parametrize("page_size", [1, 4])
def test_a_fresh_pool_hands_out_one_run(page_size) -> None:
    pool = SlotPool(32, page_size)
    assert pool.allocate(16).tolist() == list(range(16))
    assert pool.free_len == 16


def test_what_was_freed_as_a_run_comes_back_as_a_run() -> None:
    pool = SlotPool(32, 2)
    first, second = pool.allocate(8), pool.allocate(8)
    pool.free(second)
    pool.free(first)
    assert pool.allocate(8).tolist() == first.tolist()


def test_a_pool_that_is_no_multiple_of_its_pages_leaves_the_rest() -> None:
    assert SlotPool(35, 8).num_slots == 32


def test_fenced_slots_return_when_their_step_is_committed() -> None:
    pool = SlotPool(8)
    slots = pool.allocate(8)
    pool.free(slots[:4], fence=3)
    pool.free(slots[4:], fence=4)
    assert (pool.free_len, pool.fenced_len) == (0, 8)
    pool.release(3)
    assert (pool.free_len, pool.fenced_len) == (4, 4)
    assert sorted(pool.free_slots().tolist()) == sorted(slots[:4].tolist())
    pool.release(9)
    assert (pool.free_len, pool.fenced_len) == (8, 0)


def test_freeing_twice_raises() -> None:
    pool = SlotPool(8, 2)
    slots = pool.allocate(4)
    pool.free(slots)
    with pytest.raises(InternalError, match="twice"):
        pool.free(slots)


def test_freeing_twice_is_ignored_in_production() -> None:
    pool = SlotPool(8, 2, strict=False)
    slots = pool.allocate(8)
    pool.free(slots[:4])
    pool.free(slots)
    assert sorted(pool.free_slots().tolist()) == list(range(8))


def test_rebuilding_wins_back_what_nobody_owns() -> None:
    pool = SlotPool(16, 2)
    kept, _lost = pool.allocate(4), pool.allocate(6)
    assert pool.rebuild(kept) == 6
    everything = np.concatenate((pool.free_slots(), kept))
    assert sorted(everything.tolist()) == list(range(16))
