"""Rows sorted by group: against a sort on the host."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from radixlang.kernels.triton.groups import sort_rows


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 90), st.integers(1, 9), st.sampled_from([16, 32]), st.integers(0, 1 << 30), st.booleans())
def test_every_row_is_in_one_tile_of_its_group(rows: int, groups: int, tile: int, seed: int, some: bool) -> None:
    torch.manual_seed(seed)
    group = torch.randint(-1 if some else 0, groups, (rows,))
    order, tiles = sort_rows(group, groups, tile)
    told: list[tuple[int, int]] = []
    for of, first, count in tiles.tolist():
        assert 0 <= count <= tile
        told += [(of, row) for row in order[first : first + count].tolist()]
    assert told == sorted((of, row) for row, of in enumerate(group.tolist()) if of >= 0)


def test_more_rows_than_a_block() -> None:
    group = torch.arange(5000) % 7
    order, tiles = sort_rows(group, 7, 64)
    assert torch.equal(order.long(), torch.argsort(group, stable=True))
    assert int(tiles[:, 2].sum()) == 5000
