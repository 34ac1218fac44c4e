"""The sampler against a slow one in plain Python, and the promises that programs rely on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from radixlang.kernels.reference import sampling

# Few distinct values: ties are common. All are exact in float32.
LOGIT = st.sampled_from([-3.0, -1.0, 0.0, 0.5, 0.75, 2.0, 2.25, -math.inf])


def plain_draw(
    logits: list[float], *, temperature: float, top_k: int, top_p: float, min_p: float, random_number: float
) -> int:
    """The same, written as the sentence that defines it."""
    order = sorted(range(len(logits)), key=lambda i: (-logits[i], i))
    order = [i for i in order if logits[i] > -math.inf]
    if temperature == 0.0:
        return order[0]
    p = {i: math.exp((logits[i] - logits[order[0]]) / temperature) for i in order}
    if top_k:
        order = order[:top_k]
    total, so_far, kept = sum(p[i] for i in order), 0.0, []
    for i in order:
        if kept and so_far >= top_p * total:
            break
        kept.append(i)
        so_far += p[i]
    order = kept if top_p < 1.0 else order
    order = [i for i in order if p[i] >= min_p * p[order[0]]]
    total, running = sum(p[i] for i in sorted(order)), 0.0
    for i in sorted(order):
        running += p[i]
        if running > random_number * total:
            return i
    return max(order)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    logits=st.lists(LOGIT, min_size=1, max_size=12).filter(lambda x: max(x) > -math.inf),
    temperature=st.sampled_from([0.0, 0.3, 1.0, 1.7]),
    top_k=st.integers(0, 13),
    top_p=st.sampled_from([1.0, 0.9, 0.31, 1e-6]),
    min_p=st.sampled_from([0.0, 0.05, 0.7, 1.0]),
    random_number=st.floats(0.0, 1.0, exclude_max=True, allow_subnormal=False),
)
def test_a_draw_is_what_the_definition_says(logits: list[float], **how: Any) -> None:
    assert sampling.draw(torch.tensor(logits), **how) == plain_draw(logits, **how)


def test_draws_follow_the_distribution() -> None:
    logits = torch.tensor([1.0, 0.0, -1.0, 2.0])
    wanted = torch.softmax(logits.double() / 0.8, -1)
    drawn = [
        sampling.draw(logits, temperature=0.8, top_k=0, top_p=1.0, min_p=0.0, random_number=(i + 0.5) / 2000)
        for i in range(2000)
    ]
    counts = torch.bincount(torch.tensor(drawn), minlength=4) / 2000
    torch.testing.assert_close(counts.double(), wanted, atol=1e-3, rtol=0.0)


def test_ties_go_to_the_lowest_id() -> None:
    logits = torch.zeros(1000)
    logits[[700, 300, 500]] = 1.0
    how = {"top_p": 1.0, "min_p": 0.0}
    assert sampling.draw(logits, temperature=0.0, top_k=0, random_number=0.9, **how) == 300
    drawn = {sampling.draw(logits, temperature=1.0, top_k=2, random_number=u, **how) for u in np.linspace(0, 0.999, 50)}
    assert drawn == {300, 500}
    assert sampling.top_logprobs(sampling.log_softmax(logits), 5)[0] == [300, 500, 700, 0, 1]


def test_a_tiny_top_p_is_greedy() -> None:
    logits = torch.randn(5000, generator=torch.Generator().manual_seed(1))
    for u in (0.0, 0.5, 0.999):
        drawn = sampling.draw(logits, temperature=1.0, top_k=0, top_p=1e-6, min_p=0.0, random_number=u)
        assert drawn == int(logits.argmax())


def test_a_banned_token_is_never_drawn() -> None:
    logits = torch.tensor([-math.inf, 5.0, -math.inf, 1.0, -math.inf])
    for top_k, u in ((0, 0.0), (0, 1 - 2**-53), (4, 1 - 2**-53)):
        drawn = sampling.draw(logits, temperature=2.0, top_k=top_k, top_p=1.0, min_p=0.0, random_number=u)
        assert drawn in (1, 3)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4), st.integers(1, 140))
@settings(max_examples=60, deadline=None)
def test_a_mask_allows_its_bits(words: list[int], vocab_size: int) -> None:
    mask = torch.from_numpy(np.array(words, np.uint32).view(np.int32))
    wanted = [t // 32 < len(words) and bool(words[t // 32] >> t % 32 & 1) for t in range(vocab_size)]
    assert sampling.allowed(mask, vocab_size).tolist() == wanted


def shifted(logits: list[float], **changes: Any) -> list[float]:
    none = torch.zeros(0, dtype=torch.int64)
    given_ = {
        "bias_ids": none, "bias_values": torch.zeros(0), "penalty_ids": none, "penalty_counts": none,
        "frequency": 0.0, "presence": 0.0, "repetition": 1.0,
    }  # fmt: skip
    return sampling.shift(torch.tensor(logits), **{**given_, **changes}).tolist()


def test_penalties_by_example() -> None:
    logits = [2.0, -2.0, 4.0, 1.0]
    ids, counts = torch.tensor([0, 1, 2]), torch.tensor([0, 1, 3])  # 0 occurs in the prompt only
    assert shifted(logits, penalty_ids=ids, penalty_counts=counts, repetition=2.0) == [1.0, -4.0, 2.0, 1.0]
    assert shifted(logits, penalty_ids=ids, penalty_counts=counts, frequency=0.5) == [2.0, -2.5, 2.5, 1.0]
    assert shifted(logits, penalty_ids=ids, penalty_counts=counts, presence=0.5) == [2.0, -2.5, 3.5, 1.0]


def test_bias_comes_before_penalties_and_can_ban() -> None:
    found = shifted(
        [1.0, 1.0, 1.0],
        bias_ids=torch.tensor([0, 2]), bias_values=torch.tensor([-3.0, -math.inf]),
        penalty_ids=torch.tensor([0]), penalty_counts=torch.tensor([0]), repetition=2.0,
    )  # fmt: skip
    assert found == [-4.0, 1.0, -math.inf]


def test_log_probabilities_are_normalised() -> None:
    logits = torch.randn(3, 50000, generator=torch.Generator().manual_seed(2)) * 5
    logprobs = sampling.log_softmax(logits)
    torch.testing.assert_close(logprobs.double().exp().sum(-1), torch.ones(3, dtype=torch.float64), atol=1e-5, rtol=0)
    ids, values = sampling.top_logprobs(logprobs[0], 7)
    assert ids == torch.topk(logits[0], 7).indices.tolist()
    assert values == pytest.approx(logprobs[0][ids].tolist())
    assert sampling.top_logprobs(logprobs[0][:3], 9)[0] == torch.argsort(logprobs[0][:3], descending=True).tolist()
