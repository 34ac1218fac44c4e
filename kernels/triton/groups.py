"""Rows sorted by the group that they belong to, on the device alone: nothing waits, shapes follow from shapes.

So that a launch can be captured in a CUDA graph, the number of tiles is a bound: those beyond what is needed are empty.
M rows, X groups.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 1024


@triton.jit(do_not_specialize=["rows", "num_tiles"])
def _sort(
    group_ptr, order_ptr, tiles_ptr, rows, num_tiles, GROUPS: tl.constexpr, TILE: tl.constexpr, BLOCK: tl.constexpr
):
    """One program a group: where its rows begin, which they are, and its tiles.

    Tiles of group g begin at (rows of the groups before) // TILE + g, which leaves room enough for all of theirs.
    """
    group = tl.program_id(0)
    before = tl.zeros([BLOCK], tl.int32)
    mine = tl.zeros([BLOCK], tl.int32)
    for at in range(0, rows, BLOCK):
        i = at + tl.arange(0, BLOCK)
        found = tl.load(group_ptr + i, mask=i < rows, other=-1)
        before += ((found >= 0) & (found < group)).to(tl.int32)
        mine += (found == group).to(tl.int32)
    first = tl.sum(before, 0)
    count = tl.sum(mine, 0)
    begin = first // TILE + group
    end = tl.where(group == GROUPS - 1, num_tiles, (first + count) // TILE + group + 1)
    for tile in range(begin, end):
        done = (tile - begin) * TILE
        entry = tiles_ptr + tile * 3
        tl.store(entry, group)
        tl.store(entry + 1, first + done)
        tl.store(entry + 2, tl.maximum(tl.minimum(count - done, TILE), 0))
    place = first
    for at in range(0, rows, BLOCK):
        i = at + tl.arange(0, BLOCK)
        is_mine = tl.load(group_ptr + i, mask=i < rows, other=-1) == group
        rank = tl.cumsum(is_mine.to(tl.int32), 0)
        tl.store(order_ptr + place + rank - 1, i, mask=is_mine)
        place += tl.sum(is_mine.to(tl.int32), 0)


def sort_rows(group_M: Tensor, num_groups: int, tile: int) -> tuple[Tensor, Tensor]:
    """(order [M], tiles [N, 3]) int32: rows stably sorted by group; group, first place in the order, rows of each tile.

    Rows of a negative group are in no tile, and places that no tile names hold nothing.
    """
    rows = len(group_M)
    order_M = torch.empty(rows, dtype=torch.int32, device=group_M.device)
    tiles = torch.empty(rows // tile + num_groups, 3, dtype=torch.int32, device=group_M.device)
    _sort[(num_groups,)](
        group_M, order_M, tiles, rows, len(tiles), GROUPS=num_groups, TILE=tile, BLOCK=_BLOCK, num_warps=4
    )
    return order_M, tiles
