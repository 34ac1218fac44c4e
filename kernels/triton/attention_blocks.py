"""The inner loop of attention: a tile of queries against slots of one kv head, added to a running softmax.

FlashAttention-2 (arXiv 2307.08691) over paged slots. M queries of a tile, N slots of a block, D head dim, K kv heads.
"""

from __future__ import annotations

import triton
import triton.language as tl

BLOCK_N = 64
"""Slots at once."""


def block_slots(dim_pad: int, item_bytes: int) -> int:
    """Fewer where keys and values of BLOCK_N slots, or their products, would take too much of a program's memory."""
    return max(16, BLOCK_N * 256 // max(256, dim_pad * item_bytes) // (2 if item_bytes == 4 else 1))


@triton.jit
def _capped(x, softcap):
    """softcap * tanh(x / softcap)"""
    e = tl.exp(-2.0 * tl.abs(x / softcap))
    t = (1.0 - e) / (1.0 + e)
    return softcap * tl.where(x >= 0, t, -t)


@triton.jit
def _visible(n, inside, place, window, oldest, base, bits, HAS_TREE: tl.constexpr):
    """Slots up to a query's own and within its window; of the own rows, those that the bits of a tree name."""
    found = inside[None, :] & (n[None, :] <= place[:, None])
    found &= (window <= 0) | (n[None, :] > oldest[:, None])
    if HAS_TREE:
        own = n - base
        shift = tl.minimum(tl.maximum(own, 0), 31)
        found &= (own < 0)[None, :] | (((bits[:, None] >> shift[None, :]) & 1) != 0)
    return found


@triton.jit
def _add_blocks(
    q,
    acc,
    most,
    total,
    begin,
    end,
    kv_ptr,
    scale_ptr,
    table,
    kv_head,
    softmax_scale,
    softcap,
    place,
    window,
    oldest,
    base,
    bits,
    KV_HEADS: tl.constexpr,
    DIM: tl.constexpr,
    DIM_PAD: tl.constexpr,
    BLOCK: tl.constexpr,
    MASK: tl.constexpr,
    HAS_SCALE: tl.constexpr,
    HAS_CAP: tl.constexpr,
    HAS_TREE: tl.constexpr,
):
    """(acc [M, D], most [M], total [M]) with the slots [begin, end) of the table's row added.

    MASK: "none": they are whole blocks, and every query sees all of them; "end": every query sees all of them;
    "rows": see `_visible`. most: the largest score so far, times log2(e); total: the sum of 2 ** (that of a score -
    most); acc: that of values.
    """
    unit = 1.4426950408889634 if HAS_CAP else softmax_scale * 1.4426950408889634
    d = tl.arange(0, DIM_PAD)
    in_dim = d < DIM
    for at in range(begin, end, BLOCK):
        n = at + tl.arange(0, BLOCK)
        inside = n < end
        slot = tl.load(table + n, mask=inside, other=0).to(tl.int64)
        k_at = (slot * (2 * KV_HEADS) + kv_head) * DIM
        k = tl.load(kv_ptr + k_at[None, :] + d[:, None], mask=inside[None, :] & in_dim[:, None], other=0.0)
        scores = tl.dot(q, k.to(q.dtype), input_precision="ieee")
        if HAS_SCALE:
            scores *= tl.load(scale_ptr + slot * (2 * KV_HEADS) + kv_head, mask=inside, other=0.0)[None, :]
        if HAS_CAP:
            scores = _capped(scores * softmax_scale, softcap)
        if MASK == "end":
            scores = tl.where(inside[None, :], scores, float("-inf"))
        if MASK == "rows":
            seen = _visible(n, inside, place, window, oldest, base, bits, HAS_TREE)
            scores = tl.where(seen, scores, float("-inf"))
        peak = tl.maximum(most, tl.max(scores, 1) * unit)
        safe = tl.where(peak == float("-inf"), 0.0, peak)
        p = tl.exp2(scores * unit - safe[:, None])
        shrink = tl.exp2(most - safe)
        total = total * shrink + tl.sum(p, 1)
        if HAS_SCALE:
            p *= tl.load(scale_ptr + slot * (2 * KV_HEADS) + KV_HEADS + kv_head, mask=inside, other=0.0)[None, :]
        v_at = (slot * (2 * KV_HEADS) + KV_HEADS + kv_head) * DIM
        v = tl.load(kv_ptr + v_at[:, None] + d[None, :], mask=inside[:, None] & in_dim[None, :], other=0.0)
        acc = acc * shrink[:, None] + tl.dot(p.to(q.dtype), v.to(q.dtype), input_precision="ieee")
        most = peak
    return acc, most, total


@triton.jit
def _store_part(part_ptr, lse_ptr, place, acc, most, total, kept, d, DIM: tl.constexpr):
    """One split's result of M queries: values [M, DIM] at place * DIM, log2 of the sum of exp(score) at place [M]."""
    is_empty = total == 0.0
    whole = acc / tl.where(is_empty, 1.0, total)[:, None]
    tl.store(part_ptr + place.to(tl.int64)[:, None] * DIM + d[None, :], whole, mask=kept[:, None] & (d < DIM)[None, :])
    tl.store(
        lse_ptr + place, tl.where(is_empty, float("-inf"), most + tl.log2(tl.where(is_empty, 1.0, total))), mask=kept
    )


@triton.jit
def _merged(part_ptr, lse_ptr, place, splits, d, DIM: tl.constexpr, SPLITS: tl.constexpr):
    """[DIM_PAD]: one query's splits, at `place` and behind it, put together; one at least is not empty."""
    p = tl.arange(0, SPLITS)
    here = p < splits
    lse = tl.load(lse_ptr + place + p, mask=here, other=float("-inf"))
    weight = tl.exp2(lse - tl.max(lse, 0))
    at = (place + p).to(tl.int64)[:, None] * DIM + d[None, :]
    part = tl.load(part_ptr + at, mask=here[:, None] & (d < DIM)[None, :], other=0.0)
    return tl.sum(part * weight[:, None], 0) / tl.sum(weight, 0)
