"""How a step's sequences read the pool through the page table, as the index tensors that GPU kernels take.

B sequences, T packed rows. All tensors are int32 on the kernels' device.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Int32 = NDArray[np.int32]


@dataclass(slots=True)
class Paged:
    """Sequences of one row are decoded; the others are cut into tiles of rows."""

    page_table: Tensor
    """[rows, max_context]: slot of each position."""
    rows_B: Tensor
    """Packed row of each sequence that has one."""
    lengths_B: Tensor
    """Slots that it sees, its own the last."""
    table_rows_B: Tensor
    tiles: Tensor
    """[N, 5]: first packed row, rows, slots before the first row's, row of the page table, slots before the sequence's
    first own row where its drafts branch (else CAUSAL)."""
    longest: int
    """Slots that a sequence of one row may have; sizes the split."""
    tile_rows: int
    """Rows of a tile, at most."""
    deepest: int = 0
    """Slots of the longest sequence that is cut into tiles."""
    tree_2T: Tensor | None = None
    """In a step with drafts that branch: bits (bit j of a row: it sees own row j of its sequence) and positions of all
    rows; None: all are causal."""


_ALIGNED = 4
"""Entries: every index tensor begins at 16 bytes: Triton compiles a kernel anew for each pattern of alignment."""


CAUSAL = 1 << 30
"""Where own rows of a sequence would begin that does not branch: behind everything."""

MAX_HEAD_DIM = 256
"""A larger head does not fit into what a program of the GPU's kernels may hold."""
TILES = (64, 128)
"""Rows times heads of a group that one program takes. The larger tile reads K and V half as often."""
_LARGE_TILE_DIM = 128
"""Larger heads leave no room for the larger tile on GPUs with 99 KiB of shared memory (8.6, 8.9, 12.0)."""


def rows_of_tile(group: int, head_dim: int, longest: int) -> int:
    """Rows of a tile in a step whose longest sequence has so many."""
    small, large = (max(1, tile // group) for tile in TILES)
    return large if longest > small and head_dim <= _LARGE_TILE_DIM else small


def describe(
    query_start_B1: Int32,
    kv_lens_B: Int32,
    table_rows_B: Int32,
    page_table: Tensor,
    *,
    group: int,
    head_dim: int,
    tree: tuple[NDArray[np.uint32], Int32] | None = None,
) -> Paged:
    """From a plan's arrays; one transfer. See StepPlan. group: query heads of a kv head. tree: tree_T and positions_T,
    where drafts branch."""
    counts = np.diff(query_start_B1)
    single = np.flatnonzero(counts == 1)
    tile_rows = rows_of_tile(group, head_dim, int(counts.max(initial=0)))
    tiles = []
    for b in np.flatnonzero(counts > 1).tolist():
        first, count, base = int(query_start_B1[b]), int(counts[b]), int(kv_lens_B[b] - counts[b])
        for at in range(0, count, tile_rows):
            own = CAUSAL if tree is None or not tree[0][first] else base
            tiles.append((first + at, min(tile_rows, count - at), base + at, int(table_rows_B[b]), own))
    parts = np.zeros((3, -(-len(single) // _ALIGNED) * _ALIGNED), np.int32)
    parts[:, : len(single)] = query_start_B1[single], kv_lens_B[single], table_rows_B[single]
    told = [parts.ravel(), np.array(tiles, np.int32).ravel()]
    if tree is not None:
        told[:0] = [np.pad(row, (0, -len(row) % _ALIGNED)) for row in (tree[0].view(np.int32), tree[1])]
    flat = torch.from_numpy(np.concatenate(told))
    device = page_table.device
    flat = flat.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else flat
    tree_2T = None
    if tree is not None:
        tree_2T, flat = flat[: 2 * len(told[0])].view(2, -1), flat[2 * len(told[0]) :]
    rows_B, lengths_B, table_rows = flat[: parts.size].view(parts.shape)[:, : len(single)]
    # The width of the table and not the longest sequence: so the split is the one that was compiled for graphs.
    return Paged(
        page_table,
        rows_B,
        lengths_B,
        table_rows,
        flat[parts.size :].view(-1, 5),
        page_table.shape[1],
        tile_rows,
        int(kv_lens_B[counts > 1].max(initial=0)),
        tree_2T,
    )
