"""What a request asks of the sampler, prepared once: seeds, biases, the ids that end it."""

from __future__ import annotations

import numpy as np

from ...radix_cache.node import EMPTY, Int32
from ..model_runner.plan import SamplePlan
from ..request import Float32, Request
from .penalties import Penalties
from .state import State

_MASK64 = (1 << 64) - 1


def prepare(request: Request, state: State, *, index: int) -> None:
    """Fills the sampling fields. `index`: place in its n > 1, added to a given seed so that siblings differ."""
    sampling = request.submit.sampling
    if sampling.sampling_seed is None:
        request.seed = state.draw_seed()
    else:
        request.seed = (sampling.sampling_seed + index) & _MASK64
    request.stop_ids = frozenset(sampling.stop_token_ids) | (
        frozenset() if sampling.ignore_eos else state.eos_token_ids
    )
    request.bias = _bias(sampling.logit_bias)
    if sampling.min_new_tokens > 0:
        banned = sorted(set(sampling.stop_token_ids) | {t for t in state.eos_token_ids if t < state.vocab_size})
        request.ban_bias = _bias({**sampling.logit_bias, **dict.fromkeys(banned, -np.inf)})
    if sampling.frequency_penalty or sampling.presence_penalty or sampling.repetition_penalty != 1.0:
        request.penalties = Penalties(request.ids)
    request.sample_head = (
        float(sampling.temperature),
        max(0, sampling.top_k),
        float(sampling.top_p),
        float(sampling.min_p),
        request.seed,
    )
    if request.ban_bias is None and request.penalties is None:
        fields = [0, *request.sample_head, 0, *_tail(request, -1, request.bias, EMPTY, EMPTY)]
        if request.submit.constraint is None:
            request.sample_fields = fields
        else:
            request.masked_fields = fields


def sample_plan(request: Request, row: int, output_len: int, mask_row: int, *, drafted: Int32 = EMPTY) -> SamplePlan:
    """How to draw the token after `output_len` output tokens, the last of which are `drafted`.

    The counter is the output's length: forced tokens count as draws, so that jump-forward changes no later draw.
    """
    fields = request.sample_fields
    if fields is not None:
        fields[0], fields[6] = row, output_len
        return tuple.__new__(SamplePlan, fields)
    fields = request.masked_fields
    if fields is not None:
        fields[0], fields[6], fields[7] = row, output_len, mask_row
        return tuple.__new__(SamplePlan, fields)
    bias = request.bias
    if request.ban_bias is not None and output_len < request.submit.sampling.min_new_tokens:
        bias = request.ban_bias
    penalties = request.penalties
    ids, counts = (EMPTY, EMPTY) if penalties is None else (penalties.ids, penalties.counts)
    if penalties is not None and drafted.size:
        ids, counts = penalties.with_drafted(drafted)
    tail = _tail(request, mask_row, bias, ids, counts)
    return tuple.__new__(SamplePlan, (row, *request.sample_head, output_len, *tail))


def _tail(
    request: Request, mask_row: int, bias: tuple[Int32, Float32], penalty_ids: Int32, penalty_counts: Int32
) -> tuple[object, ...]:
    sampling, logprobs = request.submit.sampling, request.submit.logprobs
    num_top = logprobs.num_top if request.asks_logprobs and logprobs is not None else -1
    return (
        mask_row,
        *bias,
        penalty_ids,
        penalty_counts,
        float(sampling.frequency_penalty),
        float(sampling.presence_penalty),
        float(sampling.repetition_penalty),
        num_top,
        logprob_ids(request),
    )


def logprob_ids(request: Request) -> Int32:
    """Further ids whose log-probabilities it asks for."""
    logprobs = request.submit.logprobs
    return np.array(logprobs.token_ids, np.int32) if logprobs is not None and logprobs.token_ids else EMPTY


def _bias(bias: dict[int, float]) -> tuple[Int32, Float32]:
    ids = sorted(bias)
    return np.array(ids, np.int32), np.array([bias[token] for token in ids], np.float32)
