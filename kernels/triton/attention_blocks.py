"""The inner loop of attention: a tile of queries against slots of one kv head, added to a running softmax.

FlashAttention-2 (arXiv 2307.08691) over paged slots. M queries of a tile, N slots of a block, D head dim, K kv heads.
"""

from __future__ import annotations

import triton
import triton.language as tl

BLOCK_N = 64
"""Slots at once."""


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
    "rows": see `_visible`. most: the largest score so far; total: the sum of exp(score - most); acc: that of values.
    """
    d = tl.arange(0, DIM_PAD)
    in_dim = d < DIM
    for at in range(begin, end, BLOCK):
        n = at + tl.arange(0, BLOCK)
        inside = n < end
        slot = tl.load(table + n, mask=inside, other=0).to(tl.int64)
        k_at = (slot * (2 * KV_HEADS) + kv_head) * DIM
        k = tl.load(kv_ptr + k_at[None, :] + d[:, None], mask=inside[None, :] & in_dim[:, None], other=0.0)
        scores = tl.dot(q, k.to(q.dtype), input_precision="ieee") * softmax_scale
        if HAS_SCALE:
            scores *= tl.load(scale_ptr + slot * (2 * KV_HEADS) + kv_head, mask=inside, other=0.0)[None, :]
        if HAS_CAP:
            scores = _capped(scores, softcap)
        if MASK == "end":
            scores = tl.where(inside[None, :], scores, float("-inf"))
        if MASK == "rows":
            seen = _visible(n, inside, place, window, oldest, base, bits, HAS_TREE)
            scores = tl.where(seen, scores, float("-inf"))
        peak = tl.maximum(most, tl.max(scores, 1))
        safe = tl.where(peak == float("-inf"), 0.0, peak)
        p = tl.exp(scores - safe[:, None])
        shrink = tl.exp(most - safe)
        total = total * shrink + tl.sum(p, 1)
        if HAS_SCALE:
            p *= tl.load(scale_ptr + slot * (2 * KV_HEADS) + KV_HEADS + kv_head, mask=inside, other=0.0)[None, :]
        v_at = (slot * (2 * KV_HEADS) + KV_HEADS + kv_head) * DIM
        v = tl.load(kv_ptr + v_at[:, None] + d[None, :], mask=inside[:, None] & in_dim[None, :], other=0.0)
        acc = acc * shrink[:, None] + tl.dot(p.to(q.dtype), v.to(q.dtype), input_precision="ieee")
        most = peak
    return acc, most, total
