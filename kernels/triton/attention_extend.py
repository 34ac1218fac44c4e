"""Attention of sequences with several rows: a prompt's chunk, forced tokens, drafts. FlashAttention-2 over paged slots.

Keys and values of the rows themselves lie in the pool already, so a row reads nothing but slots. One program takes a
tile of rows for all G query heads of a kv head. Where few tiles would leave processors idle behind a long prefix (a
turn of a chat, drafts), several programs share a tile's slots, as in decoding. B sequences, H query heads, K kv heads,
G = H / K, D head dim.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..paged import TILES
from .attention_blocks import BLOCK_N, _add_blocks, _merged, _store_part, block_slots
from .tiles import Tiles, has_large_memory, sized


@triton.jit(do_not_specialize=["tree_stride", "splits"])
def _extend(
    q_ptr,
    kv_ptr,
    scale_ptr,
    out_ptr,
    tiles_ptr,
    table_ptr,
    tree_ptr,
    part_ptr,
    lse_ptr,
    q_stride,
    out_stride,
    table_stride,
    tree_stride,
    softmax_scale,
    softcap,
    window,
    splits,
    KV_HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    DIM: tl.constexpr,
    DIM_PAD: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK: tl.constexpr,
    HAS_SCALE: tl.constexpr,
    HAS_CAP: tl.constexpr,
    HAS_TREE: tl.constexpr,
    HAS_SPLITS: tl.constexpr,
):
    # The last tiles of a prompt see the most slots: they go first, so that the processors end together.
    kv_head, tile_at = tl.program_id(0), tl.num_programs(1) - 1 - tl.program_id(1)
    tile = tiles_ptr + tile_at * 5
    first_row, num_rows, first_position = tl.load(tile), tl.load(tile + 1), tl.load(tile + 2)
    table = table_ptr + tl.load(tile + 3).to(tl.int64) * table_stride
    base = tl.load(tile + 4)

    m = tl.arange(0, TILE)
    d = tl.arange(0, DIM_PAD)
    row = m // GROUP
    head = kv_head * GROUP + m % GROUP
    used = row < num_rows
    here = used[:, None] & (d < DIM)[None, :]
    packed_row = first_row + tl.minimum(row, num_rows - 1)
    at = packed_row.to(tl.int64)[:, None]
    q = tl.load(q_ptr + at * q_stride + head[:, None] * DIM + d[None, :], mask=here, other=0.0)
    # The slot of the row itself; in a tree, the position that a window counts from is another one.
    place = first_position + tl.minimum(row, num_rows - 1)
    oldest, bits = place - window, 0
    if HAS_TREE:
        bits = tl.load(tree_ptr + packed_row)
        oldest = tl.load(tree_ptr + tree_stride + packed_row) - window

    most = tl.full([TILE], float("-inf"), tl.float32)
    total = tl.zeros([TILE], tl.float32)
    acc = tl.zeros([TILE, DIM_PAD], tl.float32)
    last = first_position + num_rows
    first_seen = (tl.minimum(first_position, base) if HAS_TREE else first_position) - window + 1
    begin = tl.where(window > 0, tl.maximum(first_seen, 0), 0) // BLOCK * BLOCK
    # Blocks that every row of the tile sees whole need no mask: before the own rows, inside all windows.
    clear = tl.where(window > 0, tl.cdiv(tl.maximum(last - window, 0), BLOCK) * BLOCK, begin)
    edge = tl.minimum(first_position + 1, base) if HAS_TREE else first_position + 1
    full = tl.maximum(edge // BLOCK * BLOCK, clear)
    if HAS_SPLITS:
        split = tl.program_id(2)
        span = tl.cdiv(tl.cdiv(last - begin, splits), BLOCK) * BLOCK
        begin += split * span
        last = tl.maximum(tl.minimum(begin + span, last), begin)
        clear = tl.maximum(clear, begin)
        full = tl.maximum(full, begin)
    clear = tl.minimum(clear, last)
    full = tl.minimum(full, last)
    if begin < clear:
        acc, most, total = _add_blocks(
            q, acc, most, total, begin, clear, kv_ptr, scale_ptr, table, kv_head, softmax_scale, softcap, place,
            window, oldest, base, bits,
            KV_HEADS, DIM, DIM_PAD, BLOCK, "rows", HAS_SCALE, HAS_CAP, HAS_TREE,
        )  # fmt: skip
    if clear < full:
        acc, most, total = _add_blocks(
            q, acc, most, total, clear, full, kv_ptr, scale_ptr, table, kv_head, softmax_scale, softcap, place,
            window, oldest, base, bits,
            KV_HEADS, DIM, DIM_PAD, BLOCK, "none", HAS_SCALE, HAS_CAP, HAS_TREE,
        )  # fmt: skip
    if full < last:
        acc, most, total = _add_blocks(
            q, acc, most, total, full, last, kv_ptr, scale_ptr, table, kv_head, softmax_scale, softcap, place,
            window, oldest, base, bits,
            KV_HEADS, DIM, DIM_PAD, BLOCK, "rows", HAS_SCALE, HAS_CAP, HAS_TREE,
        )  # fmt: skip
    if HAS_SPLITS:
        heads = KV_HEADS * GROUP
        place = ((tile_at * (TILE // GROUP) + row) * heads + head) * splits + tl.program_id(2)
        _store_part(part_ptr, lse_ptr, place, acc, most, total, used, d, DIM)
    else:
        out = acc / tl.where(total == 0.0, 1.0, total)[:, None]
        to = out_ptr + at * out_stride + head[:, None] * DIM + d[None, :]
        tl.store(to, out.to(out_ptr.dtype.element_ty), mask=here)


@triton.jit(do_not_specialize=["splits"])
def _merge_tiles(
    part_ptr,
    lse_ptr,
    tiles_ptr,
    out_ptr,
    out_stride,
    splits,
    HEADS: tl.constexpr,
    DIM: tl.constexpr,
    DIM_PAD: tl.constexpr,
    ROWS: tl.constexpr,
    SPLITS: tl.constexpr,
):
    tile, head = tl.program_id(0) // ROWS, tl.program_id(1)
    row = tl.program_id(0) % ROWS
    if row >= tl.load(tiles_ptr + tile * 5 + 1):
        return
    d = tl.arange(0, DIM_PAD)
    out = _merged(part_ptr, lse_ptr, (tl.program_id(0) * HEADS + head) * splits, splits, d, DIM, SPLITS)
    to = out_ptr + (tl.load(tiles_ptr + tile * 5) + row).to(tl.int64) * out_stride + head * DIM + d
    tl.store(to, out.to(out_ptr.dtype.element_ty), mask=d < DIM)


MAX_SPLITS = 32
"""Programs that share a tile; a power of two."""


def num_splits(deepest: int, num_programs: int, num_processors: int) -> int:
    """As many as the processors take at once, and each has four blocks of slots at least."""
    return max(1, min(num_processors // max(1, num_programs), deepest // (4 * BLOCK_N), MAX_SPLITS))


def attend(
    out_THD: Tensor,
    q_THD: Tensor,
    kv_SCD: Tensor,
    scale_SC: Tensor | None,
    *,
    tiles: Tensor,
    tile_rows: int,
    splits: int,
    page_table: Tensor,
    tree_2T: Tensor | None = None,
    scale: float,
    window: int = 0,
    softcap: float = 0.0,
) -> None:
    """Fills the tiles' rows of out_THD.

    tiles, tree_2T: int32, see `Paged`; tiles have at most tile_rows rows. In drafts that branch, a window reaches over
    all own rows. splits: programs that share a tile's slots, at most MAX_SPLITS.
    """
    _, heads, dim = q_THD.shape
    kv_heads = kv_SCD.shape[1] // 2
    group = heads // kv_heads
    tile = max(TILES[0], triton.next_power_of_2(tile_rows * group))
    dim_pad = triton.next_power_of_2(dim)
    slots, warps = block_slots(dim_pad, q_THD.itemsize), 4 if tile <= 64 else 8
    stages = 3 if has_large_memory() and slots == BLOCK_N else 2
    chosen = sized("extend", (dim_pad, tile, kv_SCD.itemsize, q_THD.itemsize), Tiles(0, slots, 0, warps, stages))
    assert q_THD.stride()[1:] == (dim, 1)
    assert out_THD.is_contiguous()
    part = lse = None
    if splits > 1:
        rows = len(tiles) * (tile // group)
        part = torch.empty(rows, heads, splits, dim, dtype=torch.float32, device=q_THD.device)
        lse = torch.empty(rows, heads, splits, dtype=torch.float32, device=q_THD.device)
    _extend[(kv_heads, len(tiles), splits)](
        q_THD, kv_SCD, scale_SC, out_THD, tiles, page_table, tree_2T, part, lse,
        q_THD.stride(0), out_THD.stride(0), page_table.stride(0), 0 if tree_2T is None else tree_2T.stride(0),
        scale, softcap, window, splits,
        KV_HEADS=kv_heads, GROUP=group, DIM=dim, DIM_PAD=dim_pad, TILE=tile, BLOCK=chosen.n,
        HAS_SCALE=scale_SC is not None, HAS_CAP=softcap > 0, HAS_TREE=tree_2T is not None,
        HAS_SPLITS=splits > 1, num_warps=chosen.warps, num_stages=chosen.stages,
    )  # fmt: skip
    if splits > 1:
        _merge_tiles[(len(tiles) * (tile // group), heads)](
            part, lse, tiles, out_THD, out_THD.stride(0), splits,
            HEADS=heads, DIM=dim, DIM_PAD=dim_pad, ROWS=tile // group, SPLITS=MAX_SPLITS, num_warps=2,
        )  # fmt: skip
