"""Arrays sent as one, and tensors fetched."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("triton")

from radixlang.kernels.paged import describe
from radixlang.runtime.model_runner.cuda.staging import Fetched, send

CPU = torch.device("cpu")
TYPES = (np.float64, np.float32, np.int32)


@given(st.lists(st.tuples(st.sampled_from(TYPES), st.integers(0, 9)), min_size=1, max_size=6))
def test_parts_arrive_as_they_are_and_aligned(parts: list[tuple[type, int]]) -> None:
    arrays = [np.arange(size).astype(kind) for kind, size in parts]
    found = send(arrays, CPU)
    for array, tensor in zip(arrays, found, strict=True):
        assert tensor.numpy().dtype == array.dtype
        assert np.array_equal(tensor.numpy(), array)
    begins = [tensor.storage_offset() * tensor.element_size() for tensor in found]
    assert all(begin % 16 == 0 for begin in begins)  # else Triton compiles a kernel for each pattern of alignment


@given(st.lists(st.integers(1, 20), min_size=1, max_size=9))
def test_the_index_tensors_of_a_batch_are_aligned(rows: list[int]) -> None:
    starts = np.cumsum([0, *rows]).astype(np.int32)
    lengths = np.array(rows, np.int32)
    table = torch.zeros(9, 20, dtype=torch.int32)
    paged = describe(starts, lengths, np.arange(len(rows), dtype=np.int32), table, group=4, head_dim=16)
    for tensor in (paged.rows_B, paged.lengths_B, paged.table_rows_B, paged.tiles):
        assert not tensor.numel() or tensor.storage_offset() % 4 == 0
    single = [b for b, count in enumerate(rows) if count == 1]
    assert paged.table_rows_B.tolist() == single
    assert paged.rows_B.tolist() == starts[single].tolist()
    assert int(paged.tiles[:, 1].sum()) == sum(count for count in rows if count > 1)


def test_the_hosts_tensors_are_there_at_once() -> None:
    fetched = Fetched([torch.arange(3)], None)
    assert fetched.wait()[0].tolist() == [0, 1, 2]
