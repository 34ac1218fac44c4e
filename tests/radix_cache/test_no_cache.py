"""The baseline: nothing is found, nothing is kept, nothing is lost."""

from __future__ import annotations

import numpy as np

from radixlang.radix_cache.no_cache import NoCache
from radixlang.radix_cache.slot_pool import SlotPool


def test_what_is_inserted_is_freed_and_not_found() -> None:
    pool = SlotPool(16)
    cache = NoCache(pool)
    ids = np.arange(4, dtype=np.int32)
    handle = cache.lock(cache.match(ids, end=4))
    assert cache.publish(handle, ids, pool.allocate(4), step=1) is None
    cache.insert(handle, ids, pool.allocate(4))
    cache.unlock(handle)
    assert cache.match(ids, end=4).length == 0
    assert pool.free_len == 12
