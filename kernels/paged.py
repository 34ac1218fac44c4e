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
    """[N, 5]: first packed row, rows, position of the first, row of the page table, position of the first own row."""
    longest: int
    """Slots of the longest sequence of one row; sizes the split."""
    tree_TW: Tensor | None = None
    """Bit j of a row: it sees own row j of its sequence, in drafts that branch; None: causal."""


def describe(
    query_start_B1: Int32, kv_lens_B: Int32, table_rows_B: Int32, page_table: Tensor, rows_of_tile: int
) -> Paged:
    """From a plan's arrays; one transfer. See StepPlan."""
    counts = np.diff(query_start_B1)
    single = np.flatnonzero(counts == 1)
    tiles = []
    for b in np.flatnonzero(counts > 1).tolist():
        first, count, base = int(query_start_B1[b]), int(counts[b]), int(kv_lens_B[b] - counts[b])
        for at in range(0, count, rows_of_tile):
            tiles.append((first + at, min(rows_of_tile, count - at), base + at, int(table_rows_B[b]), base))
    parts = [query_start_B1[single], kv_lens_B[single], table_rows_B[single], np.array(tiles, np.int32).ravel()]
    device = page_table.device
    flat = torch.from_numpy(np.concatenate(parts).astype(np.int32, copy=False))
    flat = flat.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else flat
    n = len(single)
    return Paged(
        page_table,
        flat[:n],
        flat[n : 2 * n],
        flat[2 * n : 3 * n],
        flat[3 * n :].view(-1, 5),
        int(kv_lens_B[single].max(initial=0)),
    )
