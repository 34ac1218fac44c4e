"""Plain torch: from a row of logits to a token and its log-probabilities.

The meaning of every sampler, in order: bias, penalties, mask, temperature, top_k, top_p, min_p, one draw. V vocabulary,
W mask words, R rows. Ties go to the lowest id everywhere. Arithmetic on logits is float32, on probabilities float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

_BITS = torch.arange(32, dtype=torch.int32)


def allowed(mask_W: Tensor, vocab_size: int) -> Tensor:
    """[V] bool: bit t % 32 of word t // 32 of the mask (int32, the pattern of uint32); ids past its end are banned."""
    bits_V = (mask_W.unsqueeze(-1) >> _BITS.to(mask_W.device)).bitwise_and_(1).bool().flatten()[:vocab_size]
    if len(bits_V) < vocab_size:
        bits_V = torch.cat([bits_V, bits_V.new_zeros(vocab_size - len(bits_V))])
    return bits_V


def shift(
    logits_V: Tensor,
    *,
    bias_ids: Tensor,
    bias_values: Tensor,
    penalty_ids: Tensor,
    penalty_counts: Tensor,
    frequency: float,
    presence: float,
    repetition: float,
) -> Tensor:
    """A copy with bias added, then the penalties of the listed tokens.

    repetition divides positive and multiplies negative logits of all of them (CTRL, arXiv 1909.05858); frequency is
    taken off once an occurrence in the output, presence once for those that occur in it (count > 0).
    """
    shifted_V = logits_V.float().clone()
    if len(bias_ids):
        shifted_V.index_add_(0, bias_ids, bias_values)
    if len(penalty_ids):
        values = shifted_V[penalty_ids]
        values = torch.where(values > 0, values / repetition, values * repetition)
        counts = penalty_counts.to(values.dtype)
        values = values - frequency * counts - presence * (counts > 0).to(values.dtype)
        shifted_V[penalty_ids] = values
    return shifted_V


def draw(logits_V: Tensor, *, temperature: float, top_k: int, top_p: float, min_p: float, random_number: float) -> int:
    """The token that `random_number` in [0, 1) falls on; banned tokens have -inf.

    Survivors get p = exp((logit - max) / temperature); each filter works on what the one before left, likeliest first:
    top_k keeps k tokens, top_p keeps tokens until their sum reaches top_p of the total (at least one), min_p keeps
    p >= min_p · largest. The draw is the first survivor by ascending id whose running sum exceeds
    random_number · total.
    """
    largest_logit = logits_V.max()
    if temperature == 0.0 or top_k == 1 or not torch.isfinite(largest_logit):
        return int(torch.argmax(logits_V))  # the first of equals; where nothing is allowed, just some token
    p_V = torch.exp((logits_V.double() - largest_logit.double()) / temperature)
    if 0 < top_k < len(p_V):
        p_V = torch.where(largest(logits_V, top_k), p_V, 0.0)
    if top_p < 1.0:
        order = torch.sort(p_V, descending=True, stable=True)
        before = order.values.cumsum(0) - order.values
        kept = before < top_p * order.values.sum()
        kept[0] = True
        p_V[order.indices[~kept]] = 0.0
    if min_p > 0.0:
        p_V = torch.where(p_V >= min_p * p_V.max(), p_V, 0.0)
    ids = torch.nonzero(p_V).flatten()
    running = p_V[ids].cumsum(0)
    place = int(torch.searchsorted(running, random_number * running[-1], right=True))
    return int(ids[min(place, len(ids) - 1)])


def largest(values_V: Tensor, count: int) -> Tensor:
    """[V] bool: the `count` largest, lowest ids first on ties."""
    least = torch.topk(values_V, count).values[-1]
    above = values_V > least
    equal = (values_V == least).nonzero().flatten()[: count - int(above.sum())]
    above[equal] = True
    return above


def log_softmax(logits_RV: Tensor) -> Tensor:
    """Natural logarithms, float32; the sum is taken in float64."""
    logits = logits_RV.double()
    return (logits - torch.logsumexp(logits, dim=-1, keepdim=True)).float()


def top_logprobs(logprobs_V: Tensor, count: int) -> tuple[list[int], list[float]]:
    """The `count` likeliest ids, likeliest first and lowest id first on ties, and their log-probabilities."""
    count = min(count, len(logprobs_V))
    if count == 0:
        return [], []
    ids = largest(logprobs_V, count).nonzero().flatten()
    order = torch.sort(logprobs_V[ids], descending=True, stable=True)
    return ids[order.indices].tolist(), order.values.tolist()


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
    """See `kernels.ops.sample_rows`."""
    drawn = []
    for row, numbers, integers, random_number in zip(
        logit_rows_S.tolist(), numbers_S6.tolist(), integers_S6.tolist(), random_S.tolist(), strict=True
    ):
        temperature, top_p, min_p, frequency, presence, repetition = numbers
        top_k, mask_row, bias_begin, bias_end, begin, end = integers
        logits_V = shift(
            logits_RV[row],
            bias_ids=bias_ids[bias_begin:bias_end].long(),
            bias_values=bias_values[bias_begin:bias_end],
            penalty_ids=penalty_ids[begin:end].long(),
            penalty_counts=penalty_counts[begin:end],
            frequency=frequency,
            presence=presence,
            repetition=repetition,
        )
        if mask_row >= 0:
            logits_V.masked_fill_(~allowed(masks_MW[mask_row], len(logits_V)), float("-inf"))
        drawn.append(
            draw(logits_V, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, random_number=random_number)
        )
    return torch.tensor(drawn, dtype=torch.int32, device=logits_RV.device)


def logprobs_of(logits_RV: Tensor, rows_N: Tensor, ids_N: Tensor) -> Tensor:
    """See `kernels.ops.logprobs_of`."""
    wide_RV = logits_RV.double()
    return (wide_RV[rows_N.long(), ids_N.long()] - torch.logsumexp(wide_RV, -1)[rows_N.long()]).float()
