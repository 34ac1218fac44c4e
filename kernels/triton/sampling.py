"""From rows of logits to tokens: bias, penalties, mask, temperature, top_k, top_p, min_p and one draw a row.

The rules are those of `kernels.reference.sampling`, ties included; one program a row. A filter keeps what lies above a
threshold and, of what equals it, the lowest ids; the threshold is found without a sort: floats are mapped to unsigned
integers of the same order, and each pass over the row counts (or sums) for 16 pivots, so that 8 passes fix 32 bits.
S samples, V vocabulary, W mask words.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 2048


@triton.jit
def _ordered(x):
    """uint32 keys in the order of the floats."""
    bits = x.to(tl.uint32, bitcast=True)
    return tl.where(bits >> 31 != 0, ~bits, bits | 0x80000000)


@triton.jit
def _weights(row, n, vocab, largest, temperature):
    """(logits, float64 p = exp((logit - max) / temperature)); past the end and banned: p = 0."""
    x = tl.load(row + n, mask=n < vocab, other=float("-inf"))
    p = tl.exp((x.to(tl.float64) - largest.to(tl.float64)) / temperature.to(tl.float64))
    return x, tl.where(x == float("-inf"), 0.0, p)


@triton.jit
def _kept(key, n, least, last_id):
    """Above the threshold, or equal to it and early enough."""
    return (key > least) | ((key == least) & (n <= last_id))


@triton.jit
def _argmax(row, vocab, BLOCK: tl.constexpr):
    """(largest logit, its lowest id); NaN counts as -inf."""
    largest = tl.full([], float("-inf"), tl.float32)
    best = tl.full([], 0, tl.int32)
    for at in range(0, vocab, BLOCK):
        n = at + tl.arange(0, BLOCK)
        x = tl.load(row + n, mask=n < vocab, other=float("-inf"))
        x = tl.where(x == x, x, float("-inf"))
        peak = tl.max(x, 0)
        place = tl.min(tl.where(x == peak, n, 2147483647), 0)
        best = tl.where(peak > largest, place, best)
        largest = tl.maximum(largest, peak)
    return largest, best


@triton.jit
def _shift(
    row, bias_ids_ptr, bias_ptr, bias_begin, bias_end, ids_ptr, counts_ptr, begin, end,
    frequency, presence, repetition, BLOCK: tl.constexpr,
):  # fmt: skip
    """Bias and penalties, written over the row. The listed ids are distinct."""
    for at in range(bias_begin, bias_end, BLOCK):
        i = at + tl.arange(0, BLOCK)
        token = tl.load(bias_ids_ptr + i, mask=i < bias_end, other=0)
        x = tl.load(row + token, mask=i < bias_end, other=0.0)
        tl.store(row + token, x + tl.load(bias_ptr + i, mask=i < bias_end, other=0.0), mask=i < bias_end)
    tl.debug_barrier()
    for at in range(begin, end, BLOCK):
        i = at + tl.arange(0, BLOCK)
        token = tl.load(ids_ptr + i, mask=i < end, other=0)
        count = tl.load(counts_ptr + i, mask=i < end, other=0)
        x = tl.load(row + token, mask=i < end, other=0.0)
        x = tl.where(x > 0, x / repetition, x * repetition)
        x = x - frequency * count.to(tl.float32) - presence * (count > 0).to(tl.float32)
        tl.store(row + token, x, mask=i < end)
    tl.debug_barrier()


@triton.jit
def _ban(row, mask_ptr, vocab, words, BLOCK: tl.constexpr):
    """-inf over what the mask does not allow; ids past its end are banned."""
    for at in range(0, vocab, BLOCK):
        n = at + tl.arange(0, BLOCK)
        word = tl.load(mask_ptr + n // 32, mask=(n < vocab) & (n // 32 < words), other=0)
        banned = ((word >> (n % 32)) & 1) == 0
        tl.store(row + n, tl.full([BLOCK], float("-inf"), tl.float32), mask=(n < vocab) & banned)
    tl.debug_barrier()


@triton.jit
def _tie(row, vocab, least, wanted, BLOCK: tl.constexpr):
    """The id of the `wanted`-th entry (from 1, ascending ids) whose key is `least`."""
    seen = tl.full([], 0, tl.int32)
    found = tl.full([], 2147483647, tl.int32)
    for at in range(0, vocab, BLOCK):
        n = at + tl.arange(0, BLOCK)
        x = tl.load(row + n, mask=n < vocab, other=float("-inf"))
        equal = (_ordered(x) == least) & (n < vocab)
        rank = seen + tl.cumsum(equal.to(tl.int32), 0)
        found = tl.minimum(found, tl.min(tl.where(equal & (rank == wanted), n, 2147483647), 0))
        seen += tl.sum(equal.to(tl.int32), 0)
    return found


@triton.jit(do_not_specialize=["mask_stride", "words"])
def _sample(
    logits_ptr, logit_rows_ptr, work_ptr, numbers_ptr, integers_ptr, random_ptr, masks_ptr,
    bias_ids_ptr, bias_ptr, ids_ptr, counts_ptr, out_ptr,
    logits_stride, mask_stride, vocab, words, BLOCK: tl.constexpr,
):  # fmt: skip
    sample = tl.program_id(0)
    number = numbers_ptr + sample * 6
    temperature, top_p, min_p = tl.load(number), tl.load(number + 1), tl.load(number + 2)
    frequency, presence, repetition = tl.load(number + 3), tl.load(number + 4), tl.load(number + 5)
    integer = integers_ptr + sample * 6
    top_k, mask_row = tl.load(integer), tl.load(integer + 1)
    bias_begin, bias_end = tl.load(integer + 2), tl.load(integer + 3)
    begin, end = tl.load(integer + 4), tl.load(integer + 5)

    row = logits_ptr + tl.load(logit_rows_ptr + sample).to(tl.int64) * logits_stride
    if (mask_row >= 0) | (bias_begin < bias_end) | (begin < end):
        mine = work_ptr + sample.to(tl.int64) * logits_stride
        for at in range(0, vocab, BLOCK):
            n = at + tl.arange(0, BLOCK)
            tl.store(mine + n, tl.load(row + n, mask=n < vocab, other=0.0), mask=n < vocab)
        tl.debug_barrier()
        row = mine
        _shift(
            row, bias_ids_ptr, bias_ptr, bias_begin, bias_end, ids_ptr, counts_ptr, begin, end,
            frequency, presence, repetition, BLOCK,
        )  # fmt: skip
        if mask_row >= 0:
            _ban(row, masks_ptr + mask_row.to(tl.int64) * mask_stride, vocab, words, BLOCK)
    largest, best = _argmax(row, vocab, BLOCK)
    drawn = best
    is_drawn = (temperature > 0.0) & (top_k != 1) & (tl.abs(largest) < float("inf"))
    if is_drawn:
        least = tl.full([], 0, tl.uint32)  # below every key
        last_id = tl.full([], 2147483647, tl.int32)
        pivots = tl.arange(0, 16).to(tl.uint32)
        if (top_k > 0) & (top_k < vocab):
            for nibble in range(8):
                candidates = least | (pivots << (28 - 4 * nibble))
                count = tl.zeros([16], tl.int32)
                for at in range(0, vocab, BLOCK):
                    n = at + tl.arange(0, BLOCK)
                    key = _ordered(tl.load(row + n, mask=n < vocab, other=float("-inf")))
                    hit = (key[:, None] >= candidates[None, :]) & (n < vocab)[:, None]
                    count += tl.sum(hit.to(tl.int32), 0)
                # The largest candidate that at least top_k keys reach: the k-th key's next four bits.
                least = tl.max(tl.where(count >= top_k, candidates, least), 0)
            above = tl.full([], 0, tl.int32)
            for at in range(0, vocab, BLOCK):
                n = at + tl.arange(0, BLOCK)
                key = _ordered(tl.load(row + n, mask=n < vocab, other=float("-inf")))
                above += tl.sum(((key > least) & (n < vocab)).to(tl.int32), 0)
            last_id = _tie(row, vocab, least, top_k - above, BLOCK)
        if top_p < 1.0:
            total = tl.full([], 0.0, tl.float64)
            for at in range(0, vocab, BLOCK):
                n = at + tl.arange(0, BLOCK)
                x, p = _weights(row, n, vocab, largest, temperature)
                total += tl.sum(tl.where(_kept(_ordered(x), n, least, last_id), p, 0.0), 0)
            wanted = top_p.to(tl.float64) * total
            edge = tl.full([], 0, tl.uint32)
            for nibble in range(8):
                candidates = edge | (pivots << (28 - 4 * nibble))
                mass = tl.zeros([16], tl.float64)
                for at in range(0, vocab, BLOCK):
                    n = at + tl.arange(0, BLOCK)
                    x, p = _weights(row, n, vocab, largest, temperature)
                    key = _ordered(x)
                    p = tl.where(_kept(key, n, least, last_id), p, 0.0)
                    mass += tl.sum(tl.where(key[:, None] >= candidates[None, :], p[:, None], 0.0), 0)
                edge = tl.max(tl.where(mass >= wanted, candidates, edge), 0)
            # `edge` is the key at which the mass is reached: of its equals, as many as still begin below it.
            above_mass = tl.full([], 0.0, tl.float64)
            equal_p = tl.full([], 0.0, tl.float64)
            for at in range(0, vocab, BLOCK):
                n = at + tl.arange(0, BLOCK)
                x, p = _weights(row, n, vocab, largest, temperature)
                key = _ordered(x)
                kept = _kept(key, n, least, last_id)
                above_mass += tl.sum(tl.where(kept & (key > edge), p, 0.0), 0)
                equal_p = tl.maximum(equal_p, tl.max(tl.where(kept & (key == edge), p, 0.0), 0))
            if equal_p > 0.0:
                ratio = (wanted - above_mass) / equal_p
                whole = tl.minimum(tl.maximum(tl.ceil(ratio), 1.0), 2147483647.0).to(tl.int32)
                tie_id = _tie(row, vocab, edge, whole, BLOCK)
                last_id = tl.where(edge == least, tl.minimum(last_id, tie_id), tie_id)
                least = edge
        floor = min_p.to(tl.float64)  # times the largest p, which is 1
        total = tl.full([], 0.0, tl.float64)
        for at in range(0, vocab, BLOCK):
            n = at + tl.arange(0, BLOCK)
            x, p = _weights(row, n, vocab, largest, temperature)
            total += tl.sum(tl.where(_kept(_ordered(x), n, least, last_id) & (p >= floor), p, 0.0), 0)
        target = tl.load(random_ptr + sample) * total
        running = tl.full([], 0.0, tl.float64)
        drawn = tl.full([], -1, tl.int32)
        last = best
        for at in range(0, vocab, BLOCK):
            n = at + tl.arange(0, BLOCK)
            x, p = _weights(row, n, vocab, largest, temperature)
            p = tl.where(_kept(_ordered(x), n, least, last_id) & (p >= floor), p, 0.0)
            upto = running + tl.cumsum(p, 0)
            place = tl.min(tl.where((p > 0.0) & (upto > target), n, 2147483647), 0)
            drawn = tl.where((drawn < 0) & (place < 2147483647), place, drawn)
            final = tl.max(tl.where(p > 0.0, n, -1), 0)
            last = tl.where(final >= 0, final, last)
            running += tl.sum(p, 0)
        drawn = tl.where(drawn < 0, last, drawn)
    tl.store(out_ptr + sample, drawn)


def sample_rows(
    logits_RV: Tensor,
    logit_rows_S: Tensor,
    numbers_S6: Tensor,
    integers_S6: Tensor,
    random_S: Tensor,
    *,
    masks_MW: Tensor,
    bias_ids: Tensor,
    bias_values: Tensor,
    penalty_ids: Tensor,
    penalty_counts: Tensor,
) -> Tensor:
    """Tokens, int32 [S]. See `kernels.ops.sample_rows`."""
    samples, vocab = len(logit_rows_S), logits_RV.shape[1]
    out_S = torch.empty(samples, dtype=torch.int32, device=logits_RV.device)
    if not samples:
        return out_S
    assert logits_RV.dtype == torch.float32
    assert logits_RV.stride(1) == 1
    work = torch.empty(samples, logits_RV.stride(0), dtype=torch.float32, device=logits_RV.device)
    _sample[(samples,)](
        logits_RV, logit_rows_S, work, numbers_S6, integers_S6, random_S, masks_MW,
        bias_ids, bias_values, penalty_ids, penalty_counts, out_S,
        logits_RV.stride(0), masks_MW.stride(0) if masks_MW.numel() else 0, vocab, masks_MW.shape[-1],
        BLOCK=_BLOCK, num_warps=8,
    )  # fmt: skip
    return out_S


@triton.jit
def _logsumexp(logits_ptr, out_ptr, stride, vocab, BLOCK: tl.constexpr):
    row = logits_ptr + tl.program_id(0).to(tl.int64) * stride
    largest, _ = _argmax(row, vocab, BLOCK)
    total = tl.full([], 0.0, tl.float64)
    for at in range(0, vocab, BLOCK):
        n = at + tl.arange(0, BLOCK)
        x = tl.load(row + n, mask=n < vocab, other=float("-inf"))
        total += tl.sum(tl.exp(x.to(tl.float64) - largest.to(tl.float64)), 0)
    tl.store(out_ptr + tl.program_id(0), largest.to(tl.float64) + tl.log(total))


@triton.jit(do_not_specialize=["count"])
def _gather(logits_ptr, rows_ptr, ids_ptr, lse_ptr, out_ptr, stride, count, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    here = i < count
    row = tl.load(rows_ptr + i, mask=here, other=0)
    token = tl.load(ids_ptr + i, mask=here, other=0)
    x = tl.load(logits_ptr + row.to(tl.int64) * stride + token, mask=here, other=0.0)
    lse = tl.load(lse_ptr + row, mask=here, other=0.0)
    tl.store(out_ptr + i, (x.to(tl.float64) - lse).to(tl.float32), mask=here)


def logprobs_of(logits_RV: Tensor, rows_N: Tensor, ids_N: Tensor) -> Tensor:
    """Natural log-probabilities of ids_N in rows_N, float32 [N]. Reads the logits twice; writes no [R, V] matrix."""
    rows, vocab = logits_RV.shape
    out_N = torch.empty(len(ids_N), dtype=torch.float32, device=logits_RV.device)
    if not len(ids_N):
        return out_N
    lse_R = torch.empty(rows, dtype=torch.float64, device=logits_RV.device)
    _logsumexp[(rows,)](logits_RV, lse_R, logits_RV.stride(0), vocab, BLOCK=_BLOCK, num_warps=8)
    _gather[(triton.cdiv(len(ids_N), 256),)](
        logits_RV, rows_N, ids_N, lse_R, out_N, logits_RV.stride(0), len(ids_N), BLOCK=256
    )
    return out_N
