"""`kernels.ops.attention` over the page table: rows alone in their sequence by split-KV, the others by tiles."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..paged import MAX_HEAD_DIM
from ..reference.batch import PackedBatch
from . import attention_decode, attention_extend


@cache
def _processors(index: int) -> int:
    return int(torch.cuda.get_device_properties(index).multi_processor_count)


def fits(q_THD: Tensor, kv_SCD: Tensor, scale_SC: Tensor | None, batch: PackedBatch, **_: Any) -> bool:
    """The batch names its pages, and the head is not too large."""
    return batch.paged is not None and q_THD.shape[-1] <= MAX_HEAD_DIM


def attention(
    q_THD: Tensor,
    kv_SCD: Tensor,
    scale_SC: Tensor | None,
    batch: PackedBatch,
    *,
    scale: float,
    window: int = 0,
    softcap: float = 0.0,
) -> Tensor:
    """See `kernels.ops.attention`."""
    paged = batch.paged
    assert paged is not None
    out_THD = torch.empty(q_THD.shape, dtype=q_THD.dtype, device=q_THD.device)
    kv_heads = kv_SCD.shape[1] // 2
    processors = _processors(q_THD.device.index or 0) if q_THD.is_cuda else 8
    if len(paged.rows_B):
        attention_decode.attend(
            out_THD, q_THD, kv_SCD, scale_SC,
            rows_B=paged.rows_B, lengths_B=paged.lengths_B, table_rows_B=paged.table_rows_B,
            page_table=paged.page_table,
            splits=attention_decode.num_splits(paged.longest, len(paged.rows_B), kv_heads, processors),
            scale=scale, window=window, softcap=softcap,
        )  # fmt: skip
    if len(paged.tiles):
        attention_extend.attend(
            out_THD, q_THD, kv_SCD, scale_SC, tiles=paged.tiles, tile_rows=paged.tile_rows,
            splits=attention_extend.num_splits(paged.deepest, len(paged.tiles) * kv_heads, processors),
            page_table=paged.page_table, tree_2T=paged.tree_2T, scale=scale, window=window, softcap=softcap,
        )  # fmt: skip
    return out_THD
