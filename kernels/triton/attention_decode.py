"""Attention of rows that are alone in their sequence: split-KV, one program for all query heads of a kv head.

Flash-Decoding (Dao et al., 2023): every split of a sequence's slots gives a partial sum and its log-sum-exp, a second
kernel merges them. B sequences, H query heads, K kv heads, G = H / K, C = 2K cached heads, D head dim, P splits.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .attention_blocks import BLOCK_N, _add_blocks, _merged, _store_part, block_slots
from .tiles import Tiles, sized


@triton.jit
def _split(
    q_ptr,
    kv_ptr,
    scale_ptr,
    rows_ptr,
    lengths_ptr,
    table_rows_ptr,
    table_ptr,
    part_ptr,
    lse_ptr,
    q_stride,
    table_stride,
    softmax_scale,
    softcap,
    window,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    GROUP_PAD: tl.constexpr,
    DIM: tl.constexpr,
    DIM_PAD: tl.constexpr,
    SPLITS: tl.constexpr,
    BLOCK: tl.constexpr,
    HAS_SCALE: tl.constexpr,
    HAS_CAP: tl.constexpr,
):
    sequence, kv_head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    length = tl.load(lengths_ptr + sequence)
    first = tl.where(window > 0, tl.maximum(length - window, 0), 0)
    span = tl.cdiv(tl.cdiv(length - first, SPLITS), BLOCK) * BLOCK
    begin = first + split * span
    end = tl.minimum(begin + span, length)

    g = tl.arange(0, GROUP_PAD)
    d = tl.arange(0, DIM_PAD)
    in_dim = d < DIM
    in_group = g < GROUP
    head = kv_head * GROUP + g
    row = tl.load(rows_ptr + sequence).to(tl.int64)
    q = tl.load(
        q_ptr + row * q_stride + head[:, None] * DIM + d[None, :], mask=in_group[:, None] & in_dim[None, :], other=0.0
    )
    table = table_ptr + tl.load(table_rows_ptr + sequence).to(tl.int64) * table_stride

    most = tl.full([GROUP_PAD], float("-inf"), tl.float32)
    total = tl.zeros([GROUP_PAD], tl.float32)
    acc = tl.zeros([GROUP_PAD, DIM_PAD], tl.float32)
    acc, most, total = _add_blocks(
        q, acc, most, total, begin, end, kv_ptr, scale_ptr, table, kv_head, softmax_scale, softcap, 0, 0, 0, 0, 0,
        KV_HEADS, DIM, DIM_PAD, BLOCK, "end", HAS_SCALE, HAS_CAP, False,
    )  # fmt: skip
    place = (sequence * HEADS + head) * SPLITS + split
    _store_part(part_ptr, lse_ptr, place, acc, most, total, in_group, d, DIM)


@triton.jit
def _merge(
    part_ptr,
    lse_ptr,
    rows_ptr,
    out_ptr,
    out_stride,
    HEADS: tl.constexpr,
    DIM: tl.constexpr,
    DIM_PAD: tl.constexpr,
    SPLITS: tl.constexpr,
):
    sequence, head = tl.program_id(0), tl.program_id(1)
    d = tl.arange(0, DIM_PAD)
    out = _merged(part_ptr, lse_ptr, (sequence * HEADS + head) * SPLITS, SPLITS, d, DIM, SPLITS)
    row = tl.load(rows_ptr + sequence).to(tl.int64)
    tl.store(out_ptr + row * out_stride + head * DIM + d, out.to(out_ptr.dtype.element_ty), mask=d < DIM)


def num_splits(longest: int, num_sequences: int, num_kv_heads: int, num_processors: int) -> int:
    """A power of two that fills the processors about twice and leaves each split at least two blocks."""
    wanted = max(1, 2 * num_processors // max(1, num_sequences * num_kv_heads))
    wanted = min(wanted, max(1, longest // (2 * BLOCK_N)), 64)
    return 1 << (wanted.bit_length() - 1)


def attend(
    out_THD: Tensor,
    q_THD: Tensor,
    kv_SCD: Tensor,
    scale_SC: Tensor | None,
    *,
    rows_B: Tensor,
    lengths_B: Tensor,
    table_rows_B: Tensor,
    page_table: Tensor,
    splits: int,
    scale: float,
    window: int = 0,
    softcap: float = 0.0,
) -> None:
    """Fills out_THD[rows_B]. Row b sees the first lengths_B[b] slots (its own the last) of its row of the page table.

    All index tensors int32 on the device of q. splits: a power of two. scale_SC: float32 factors of an int8 pool.
    """
    num_sequences, (_, heads, dim) = len(rows_B), q_THD.shape
    kv_heads = kv_SCD.shape[1] // 2
    group = heads // kv_heads
    assert q_THD.stride()[1:] == (dim, 1)
    assert out_THD.is_contiguous()
    part = torch.empty(num_sequences, heads, splits, dim, dtype=torch.float32, device=q_THD.device)
    lse = torch.empty(num_sequences, heads, splits, dtype=torch.float32, device=q_THD.device)
    dim_pad, group_pad = triton.next_power_of_2(dim), max(16, triton.next_power_of_2(group))
    own = Tiles(0, BLOCK_N if q_THD.itemsize < 4 else block_slots(dim_pad, q_THD.itemsize), 0, 4, 3)
    chosen = sized("decode", (dim_pad, group_pad, kv_SCD.itemsize, q_THD.itemsize), own)
    _split[(num_sequences, kv_heads, splits)](
        q_THD, kv_SCD, scale_SC, rows_B, lengths_B, table_rows_B, page_table, part, lse,
        q_THD.stride(0), page_table.stride(0), scale, softcap, window,
        HEADS=heads, KV_HEADS=kv_heads, GROUP=group, GROUP_PAD=group_pad,
        DIM=dim, DIM_PAD=dim_pad, SPLITS=splits, BLOCK=chosen.n,
        HAS_SCALE=scale_SC is not None, HAS_CAP=softcap > 0, num_warps=chosen.warps, num_stages=chosen.stages,
    )  # fmt: skip
    _merge[(num_sequences, heads)](
        part, lse, rows_B, out_THD, out_THD.stride(0), HEADS=heads, DIM=dim, DIM_PAD=dim_pad, SPLITS=splits, num_warps=2
    )
