"""What is written to slots is read back."""

from __future__ import annotations

import pytest
import torch

from radixlang.kernels.reference.cache import load_kv, store_kv

SLOTS = torch.tensor([5, 0, 7])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_floats_come_back_rounded_to_the_pool(dtype: torch.dtype) -> None:
    pool = torch.zeros(9, 4, 8, dtype=dtype)
    rows = torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(0))
    store_kv(pool, None, rows, SLOTS)
    assert torch.equal(load_kv(pool, None, SLOTS, torch.float32), rows.to(dtype).float())
    assert not pool[[1, 2, 3, 4, 6, 8]].any()


def test_int8_is_within_half_a_step_of_each_head() -> None:
    pool, scale = torch.zeros(9, 4, 8, dtype=torch.int8), torch.zeros(9, 4)
    rows = torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(0))
    rows[0, 0] *= 1000.0  # an outlier spoils its own head only
    rows[1, 2] = 0.0
    store_kv(pool, scale, rows, SLOTS)
    error = (load_kv(pool, scale, SLOTS, torch.float32) - rows).abs()
    assert (error <= rows.abs().amax(-1, keepdim=True) / 127 * 0.501).all()
    assert not load_kv(pool, scale, SLOTS, torch.float32)[1, 2].any()
