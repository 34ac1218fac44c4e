"""From rows of logits to tokens: bias, penalties, mask, temperature, top_k, top_p, min_p and one draw a row.

The rules are those of `kernels.reference.sampling`, ties included; one program a row. The row is read twice: once for
the largest logit, once for what may survive the filters, which is written together in ascending order of ids; from then
on only that is read, as a rule one block of it. What cannot survive is known from the first reading: less than the k-th
of 1024 groups' largest (top_k), or too little for all of it together to be within top_p's rest. Without a filter the
row is read a third time, until the draw falls.
A filter keeps what lies above a threshold and, of what equals it, the lowest ids; the threshold is found without a
sort: floats are mapped to unsigned integers of the same order, and each pass counts (or sums) for 16 pivots, so that 8
passes fix 32 bits. S samples, V vocabulary, W mask words.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK, _FEW = 4096, 1024
"""Logits that a program reads at once; of those that may survive, at once, and groups of the first reading."""
_WARPS = 16


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
    return x, tl.where(x > float("-inf"), p, 0.0)  # NaN is not


@triton.jit
def _kept(key, n, least, last_id):
    """Above the threshold, or equal to it and early enough."""
    return (key > least) | ((key == least) & (n <= last_id))


@triton.jit
def _survey(row, vocab, BLOCK: tl.constexpr):
    """(largest logit, its lowest id, [BLOCK] the largest at every BLOCK-th place); NaN counts as -inf."""
    most = tl.full([BLOCK], float("-inf"), tl.float32)
    ids = tl.zeros([BLOCK], tl.int32)
    for at in tl.range(0, vocab, BLOCK, num_stages=3):
        n = at + tl.arange(0, BLOCK)
        x = tl.load(row + n, mask=n < vocab, other=float("-inf"))
        ids = tl.where(x > most, n, ids)
        most = tl.where(x > most, x, most)
    largest = tl.max(most, 0)
    return largest, tl.min(tl.where(most == largest, ids, 2147483647), 0), most


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


@triton.jit
def _kth_group(most, top_k, LANES: tl.constexpr):
    """The key of the top_k-th of LANES groups' largest logits: so many logits at least are no less."""
    BLOCK: tl.constexpr = most.shape[0]
    keys = _ordered(tl.max(tl.reshape(most, [BLOCK // LANES, LANES]), 0))
    pivots = tl.arange(0, 16).to(tl.uint32)
    least = tl.full([], 0, tl.uint32)  # below every key
    for nibble in range(8):
        candidates = least | (pivots << (28 - 4 * nibble))
        count = tl.sum((keys[:, None] >= candidates[None, :]).to(tl.int32), 0)
        least = tl.max(tl.where(count >= top_k, candidates, least), 0)
    return least


@triton.jit
def _gather_survivors(row, values, ids, vocab, largest, temperature, cut_key, cut, sums, BLOCK: tl.constexpr):
    """(how many logits are no less than both cuts, the mass of all where `sums`); they and their ids are written.

    `values` may be the row itself: what is written lies behind what is still to be read.
    """
    count = tl.full([], 0, tl.int32)
    mass = tl.zeros([BLOCK], tl.float64)
    for at in tl.range(0, vocab, BLOCK, num_stages=3):
        n = at + tl.arange(0, BLOCK)
        x = tl.load(row + n, mask=n < vocab, other=float("-inf"))
        if sums:
            p = tl.exp((x.to(tl.float64) - largest.to(tl.float64)) / temperature.to(tl.float64))
            mass += tl.where(x > float("-inf"), p, 0.0)
        kept = (x > float("-inf")) & (_ordered(x) >= cut_key) & (x.to(tl.float64) >= cut)
        found = tl.sum(kept.to(tl.int32), 0)
        if found > 0:
            place = count + tl.cumsum(kept.to(tl.int32), 0) - 1
            tl.store(values + place, x, mask=kept)
            tl.store(ids + place, n, mask=kept)
        count += found
    tl.debug_barrier()
    return count, tl.sum(mass, 0)


@triton.jit
def _limit_count(row, size, top_k, FEW: tl.constexpr):
    """(key, place): what top_k keeps lies above the key, or has it and is no later. top_k < size."""
    pivots = tl.arange(0, 16).to(tl.uint32)
    least = tl.full([], 0, tl.uint32)
    for nibble in range(8):
        candidates = least | (pivots << (28 - 4 * nibble))
        count = tl.zeros([16], tl.int32)
        for at in range(0, size, FEW):
            n = at + tl.arange(0, FEW)
            key = _ordered(tl.load(row + n, mask=n < size, other=float("-inf")))
            hit = (key[:, None] >= candidates[None, :]) & (n < size)[:, None]
            count += tl.sum(hit.to(tl.int32), 0)
        # The largest candidate that at least top_k keys reach: the k-th key's next four bits.
        least = tl.max(tl.where(count >= top_k, candidates, least), 0)
    above = tl.full([], 0, tl.int32)
    for at in range(0, size, FEW):
        n = at + tl.arange(0, FEW)
        key = _ordered(tl.load(row + n, mask=n < size, other=float("-inf")))
        above += tl.sum(((key > least) & (n < size)).to(tl.int32), 0)
    return least, _tie(row, size, least, top_k - above, FEW)


@triton.jit
def _limit_mass(row, size, largest, temperature, least, last, wanted, FEW: tl.constexpr):
    """(key, place) as `_limit_count` tells them: of what they keep, likeliest first, until `wanted` is reached."""
    pivots = tl.arange(0, 16).to(tl.uint32)
    edge = tl.full([], 0, tl.uint32)
    for nibble in range(8):
        candidates = edge | (pivots << (28 - 4 * nibble))
        mass = tl.zeros([16], tl.float64)
        for at in range(0, size, FEW):
            n = at + tl.arange(0, FEW)
            x, p = _weights(row, n, size, largest, temperature)
            key = _ordered(x)
            p = tl.where(_kept(key, n, least, last), p, 0.0)
            mass += tl.sum(tl.where(key[:, None] >= candidates[None, :], p[:, None], 0.0), 0)
        edge = tl.max(tl.where(mass >= wanted, candidates, edge), 0)
    # `edge` is the key at which the mass is reached: of its equals, as many as still begin below it.
    above = tl.full([], 0.0, tl.float64)
    equal = tl.full([], 0.0, tl.float64)
    for at in range(0, size, FEW):
        n = at + tl.arange(0, FEW)
        x, p = _weights(row, n, size, largest, temperature)
        key = _ordered(x)
        kept = _kept(key, n, least, last)
        above += tl.sum(tl.where(kept & (key > edge), p, 0.0), 0)
        equal = tl.maximum(equal, tl.max(tl.where(kept & (key == edge), p, 0.0), 0))
    if equal > 0.0:
        whole = tl.minimum(tl.maximum(tl.ceil((wanted - above) / equal), 1.0), 2147483647.0).to(tl.int32)
        tie = _tie(row, size, edge, whole, FEW)
        last = tl.where(edge == least, tl.minimum(last, tie), tie)
        least = edge
    return least, last


@triton.jit
def _mass(row, size, largest, temperature, least, last, floor, BLOCK: tl.constexpr):
    """The sum of p of what is kept and has p >= floor."""
    total = tl.full([], 0.0, tl.float64)
    for at in range(0, size, BLOCK):
        n = at + tl.arange(0, BLOCK)
        x, p = _weights(row, n, size, largest, temperature)
        total += tl.sum(tl.where(_kept(_ordered(x), n, least, last) & (p >= floor), p, 0.0), 0)
    return total


@triton.jit
def _fall(row, size, largest, temperature, least, last, floor, target, BLOCK: tl.constexpr):
    """The place on which the draw falls; -1 where nothing has a mass."""
    running = tl.full([], 0.0, tl.float64)
    drawn = tl.full([], 2147483647, tl.int32)
    final = tl.full([], -1, tl.int32)
    at = 0
    while (at < size) & (drawn == 2147483647):
        n = at + tl.arange(0, BLOCK)
        x, p = _weights(row, n, size, largest, temperature)
        p = tl.where(_kept(_ordered(x), n, least, last) & (p >= floor), p, 0.0)
        upto = running + tl.cumsum(p, 0)
        drawn = tl.min(tl.where((p > 0.0) & (upto > target), n, 2147483647), 0)
        final = tl.maximum(final, tl.max(tl.where(p > 0.0, n, -1), 0))
        running += tl.sum(p, 0)
        at += BLOCK
    return tl.where(drawn == 2147483647, final, drawn)


@triton.jit(do_not_specialize=["mask_stride", "words"])
def _sample(
    logits_ptr, logit_rows_ptr, work_ptr, work_ids_ptr, numbers_ptr, integers_ptr, random_ptr, masks_ptr,
    bias_ids_ptr, bias_ptr, ids_ptr, counts_ptr, out_ptr,
    logits_stride, mask_stride, vocab, words, BLOCK: tl.constexpr, FEW: tl.constexpr,
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
    mine = work_ptr + sample.to(tl.int64) * logits_stride
    my_ids = work_ids_ptr + sample.to(tl.int64) * logits_stride
    if (mask_row >= 0) | (bias_begin < bias_end) | (begin < end):
        for at in tl.range(0, vocab, BLOCK, num_stages=3):
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
    largest, best, most = _survey(row, vocab, BLOCK)
    token = best
    if (temperature > 0.0) & (top_k != 1) & (tl.abs(largest) < float("inf")):
        limits_count = (top_k > 0) & (top_k < vocab)
        limits_mass = top_p < 1.0
        least = tl.full([], 0, tl.uint32)  # below every key
        last = tl.full([], 2147483647, tl.int32)
        floor = min_p.to(tl.float64)  # times the largest p, which is 1
        size = vocab
        total = tl.full([], 0.0, tl.float64)
        is_gathered = limits_count | limits_mass | (min_p > 0.0)
        if is_gathered:
            cut_key = tl.full([], 0, tl.uint32)
            cut = tl.full([], float("-inf"), tl.float64)
            if limits_count:
                # top_p's total is of what top_k keeps: none of that may be missing.
                if top_k <= FEW:
                    cut_key = _kth_group(most, top_k, FEW)
            else:
                # All that lie below it together have less than half of what top_p leaves, or of min_p each.
                rest = tl.where(limits_mass, (1.0 - top_p.to(tl.float64)) / vocab, 0.0)
                cut = largest.to(tl.float64) + temperature.to(tl.float64) * tl.log(tl.maximum(rest, floor) * 0.5)
            size, total = _gather_survivors(
                row, mine, my_ids, vocab, largest, temperature, cut_key, cut, limits_mass & (limits_count == 0), BLOCK
            )
            row = mine
            if limits_count & (top_k < size):
                least, last = _limit_count(row, size, top_k, FEW)
            if limits_mass:
                if limits_count:
                    total = _mass(row, size, largest, temperature, least, last, 0.0, FEW)
                least, last = _limit_mass(
                    row, size, largest, temperature, least, last, top_p.to(tl.float64) * total, FEW
                )  # fmt: skip
        total = _mass(row, size, largest, temperature, least, last, floor, FEW)
        target = tl.load(random_ptr + sample) * total
        place = _fall(row, size, largest, temperature, least, last, floor, target, FEW)
        if place >= 0:
            token = place
            if is_gathered:
                token = tl.load(my_ids + place)
    tl.store(out_ptr + sample, token)


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
    work = torch.empty(2, samples, logits_RV.stride(0), dtype=torch.float32, device=logits_RV.device)
    _sample[(samples,)](
        logits_RV, logit_rows_S, work[0], work[1].view(torch.int32), numbers_S6, integers_S6, random_S, masks_MW,
        bias_ids, bias_values, penalty_ids, penalty_counts, out_S,
        logits_RV.stride(0), masks_MW.stride(0) if masks_MW.numel() else 0, vocab, masks_MW.shape[-1],
        BLOCK=_BLOCK, FEW=_FEW, num_warps=_WARPS,
    )  # fmt: skip
    return out_S


@triton.jit
def _logsumexp(logits_ptr, out_ptr, stride, vocab, BLOCK: tl.constexpr):
    row = logits_ptr + tl.program_id(0).to(tl.int64) * stride
    largest, _, _ = _survey(row, vocab, BLOCK)
    total = tl.zeros([BLOCK], tl.float64)
    for at in tl.range(0, vocab, BLOCK, num_stages=3):
        n = at + tl.arange(0, BLOCK)
        x = tl.load(row + n, mask=n < vocab, other=float("-inf"))
        total += tl.exp(x.to(tl.float64) - largest.to(tl.float64))
    tl.store(out_ptr + tl.program_id(0), largest.to(tl.float64) + tl.log(tl.sum(total, 0)))


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
    _logsumexp[(rows,)](logits_RV, lse_R, logits_RV.stride(0), vocab, BLOCK=_BLOCK, num_warps=_WARPS)
    _gather[(triton.cdiv(len(ids_N), 256),)](
        logits_RV, rows_N, ids_N, lse_R, out_N, logits_RV.stride(0), len(ids_N), BLOCK=256
    )
    return out_N
