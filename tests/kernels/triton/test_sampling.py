"""The sampling kernel draws what the reference draws, ties included; log-probabilities by gather."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from radixlang.kernels.reference import sampling as reference
from radixlang.kernels.triton import sampling


@st.composite
def draws(draw: st.DrawFn) -> dict[str, torch.Tensor]:
    """A batch of samples over few, coarse logits, so that ties are common."""
    vocab = draw(st.integers(2, 70))
    rows = draw(st.integers(1, 3))
    samples = draw(st.integers(1, 4))
    seed = draw(st.integers(0, 1 << 30))
    rng = np.random.default_rng(seed)
    coarse = draw(st.booleans())
    logits = rng.integers(-3, 4, (rows, vocab)) if coarse else rng.normal(size=(rows, vocab)) * 3
    numbers, integers, random = [], [], []
    bias_ids, bias_values, penalty_ids, penalty_counts = [], [], [], []
    for _ in range(samples):
        banned = rng.choice(vocab, rng.integers(0, min(vocab, 4)), replace=False)
        seen = rng.choice(vocab, rng.integers(0, min(vocab, 6)), replace=False)
        integers.append([
            draw(st.sampled_from([0, 1, 2, 5, 20, vocab])), draw(st.sampled_from([-1, 0])),
            len(bias_ids), len(bias_ids) + len(banned), len(penalty_ids), len(penalty_ids) + len(seen),
        ])  # fmt: skip
        bias_ids += banned.tolist()
        bias_values += rng.choice([2.0, -1.5, float("-inf")], len(banned)).tolist()
        penalty_ids += seen.tolist()
        penalty_counts += rng.integers(0, 3, len(seen)).tolist()
        numbers.append([
            draw(st.sampled_from([0.0, 0.3, 1.0, 2.0])), draw(st.sampled_from([1.0, 0.9, 0.5, 0.05])),
            draw(st.sampled_from([0.0, 0.1, 1.0])), 0.5, 0.25, draw(st.sampled_from([1.0, 1.3])),
        ])  # fmt: skip
        random.append(draw(st.floats(0, 1, exclude_max=True)))
    allowed = rng.random(32 * ((vocab + 31) // 32)) < 0.6
    allowed[0] = True
    words = np.packbits(allowed, bitorder="little").view(np.int32)
    return {
        "logits_RV": torch.tensor(logits, dtype=torch.float32),
        "logit_rows_S": torch.tensor(rng.integers(0, rows, samples), dtype=torch.int32),
        "numbers_S6": torch.tensor(numbers, dtype=torch.float32),
        "integers_S6": torch.tensor(integers, dtype=torch.int32),
        "random_S": torch.tensor(random, dtype=torch.float64),
        "masks_MW": torch.tensor(words[None]),
        "bias_ids": torch.tensor(bias_ids, dtype=torch.int32),
        "bias_values": torch.tensor(bias_values, dtype=torch.float32),
        "penalty_ids": torch.tensor(penalty_ids, dtype=torch.int32),
        "penalty_counts": torch.tensor(penalty_counts, dtype=torch.int32),
    }


@pytest.mark.parametrize("blocks", [(4096, 1024), (32, 8)], ids=["one block", "many blocks"])
@settings(max_examples=20, deadline=None)
@given(batch=draws())
def test_draws_what_the_reference_draws(blocks: tuple[int, int], batch: dict[str, torch.Tensor]) -> None:
    before = batch["logits_RV"].clone()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sampling, "_BLOCK", blocks[0])
        patched.setattr(sampling, "_FEW", blocks[1])
        got = sampling.sample_rows(**batch).tolist()
    assert got == reference.sample_rows(**batch).tolist()
    assert torch.equal(batch["logits_RV"], before)


@pytest.mark.parametrize(
    ("top_k", "top_p", "min_p"),
    [(0, 0.9, 0.0), (50, 1.0, 0.0), (40, 0.8, 0.02), (0, 1.0, 0.05), (0, 1.0, 0.0), (1100, 0.9, 0.0)],
)
def test_a_large_vocabulary(top_k: int, top_p: float, min_p: float) -> None:
    rng = np.random.default_rng(top_k)
    logits = torch.tensor(rng.standard_t(3, (2, 9000)) * 2, dtype=torch.float32)
    logits[1] = torch.round(logits[1])  # thousands of equals
    rows, nothing = 2, torch.zeros(0, dtype=torch.int32)
    batch = {
        "logits_RV": logits,
        "logit_rows_S": torch.arange(rows, dtype=torch.int32) % 2,
        "numbers_S6": torch.tensor([[0.9, top_p, min_p, 0.0, 0.0, 1.0]] * rows),
        "integers_S6": torch.tensor([[top_k, -1, 0, 0, 0, 0]] * rows, dtype=torch.int32),
        "random_S": torch.tensor(rng.random(rows)),
        "masks_MW": nothing.view(0, 0), "bias_ids": nothing, "bias_values": nothing.float(),
        "penalty_ids": nothing, "penalty_counts": nothing,
    }  # fmt: skip
    assert sampling.sample_rows(**batch).tolist() == reference.sample_rows(**batch).tolist()


def test_a_row_of_nan_or_nothing_allowed_still_ends() -> None:
    one = {
        "numbers_S6": torch.tensor([[1.0, 0.9, 0.1, 0.0, 0.0, 1.0]]),
        "integers_S6": torch.tensor([[3, -1, 0, 0, 0, 0]], dtype=torch.int32),
        "random_S": torch.tensor([0.5], dtype=torch.float64),
        "logit_rows_S": torch.tensor([0], dtype=torch.int32),
        "masks_MW": torch.zeros(0, 0, dtype=torch.int32),
        "bias_ids": torch.zeros(0, dtype=torch.int32),
        "bias_values": torch.zeros(0),
        "penalty_ids": torch.zeros(0, dtype=torch.int32),
        "penalty_counts": torch.zeros(0, dtype=torch.int32),
    }
    for value in (float("nan"), float("-inf"), float("inf")):
        (token,) = sampling.sample_rows(torch.full((1, 50), value), **one).tolist()
        assert 0 <= token < 50


def test_logprobs_of() -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 5000) * 5
    rows, ids = torch.tensor([0, 2, 2, 1], dtype=torch.int32), torch.tensor([4, 4999, 0, 77], dtype=torch.int32)
    exact = torch.log_softmax(logits.double(), -1)[rows.long(), ids.long()]
    for implementation in (sampling, reference):
        assert torch.allclose(implementation.logprobs_of(logits, rows, ids).double(), exact, atol=1e-6)
