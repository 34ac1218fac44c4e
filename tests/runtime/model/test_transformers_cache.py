"""Slots that a model sees as its own cache."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from radixlang.runtime.model.transformers_cache import SlotCache  # noqa: E402
from radixlang.runtime.model.transformers_hooks import LazyKvPool  # noqa: E402


def rows(count, seed):
    return torch.randn(1, 2, count, 4, generator=torch.Generator().manual_seed(seed))


def test_a_sequence_comes_back_in_order_from_scattered_slots():
    pool, slots = LazyKvPool(16, torch.float32), torch.tensor([9, 3, 12, 0, 7])
    k, v = rows(5, 0), rows(5, 1)
    for done, end in ((0, 3), (3, 5)):
        cache = SlotCache(pool, 2, done, slots[:end])
        assert cache.get_seq_length() == done
        assert cache.get_mask_sizes(end - done, 0) == (end, 0)
        keys, values = cache.update(k[:, :, done:end], v[:, :, done:end], 1)
        assert torch.equal(keys, k[:, :, :end])
        assert torch.equal(values, v[:, :, :end])
        assert cache.get_seq_length(1) == end
        assert cache.get_seq_length(0) == done
    assert pool.bytes_per_token == 2 * 2 * 4 * 4  # of the one layer that wrote


def test_a_prefix_of_another_sequence_is_read_where_it_lies():
    pool = LazyKvPool(16, torch.float32)
    k, v = rows(4, 0), rows(4, 1)
    SlotCache(pool, 1, 0, torch.tensor([5, 6, 7, 8])).update(k, v, 0)
    keys, _ = SlotCache(pool, 1, 2, torch.tensor([5, 6, 1])).update(rows(1, 2), rows(1, 3), 0)
    assert torch.equal(keys[:, :, :2], k[:, :, :2])
    assert torch.equal(keys[:, :, 2:], rows(1, 2))
