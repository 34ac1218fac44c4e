"""Attention over slots against the formula written out, and torch's fused kernel against the reference."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from radixlang.kernels.reference import attention, attention_fused
from radixlang.kernels.reference.batch import Extend, PackedBatch, padded_slots

DIM = 8


class Case:
    """Sequences as (rows, cached) over a pool of scattered slots; the last two share their first slots."""

    def __init__(self, shape: list[tuple[int, int]], *, heads: int = 4, kv_heads: int = 2, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        torch.manual_seed(seed)
        slots = rng.permutation(400)
        self.kv = torch.randn(400, 2 * kv_heads, DIM)
        sequences, positions, first = [], [], 0
        for rows, cached in shape:
            mine, slots = slots[: rows + cached], slots[rows + cached :]
            sequences.append(Extend(first, first + rows, torch.from_numpy(mine.copy())))
            positions += range(cached, cached + rows)
            first += rows
        shared = min(len(sequences[-1].slots_L), len(sequences[0].slots_L)) // 2
        sequences[-1].slots_L[:shared] = sequences[0].slots_L[:shared]
        self.batch = PackedBatch(sequences, torch.tensor(positions))
        self.q = torch.randn(first, heads, DIM)

    def run(self, kernel: Any, **options: Any) -> torch.Tensor:
        return kernel(self.q, self.kv, None, self.batch, **{"scale": 0.3, **options})

    def formula(self, *, scale: float = 0.3, window: int = 0, softcap: float = 0.0) -> torch.Tensor:
        out = torch.zeros(self.q.shape, dtype=torch.float64)
        heads, kv_heads = self.q.shape[1], self.kv.shape[1] // 2
        for sequence in self.batch.sequences:
            for row in range(sequence.first, sequence.end):
                position = int(self.batch.positions_T[row])
                seen = [i for i in range(position + 1) if not window or i > position - window]
                for head in range(heads):
                    kv = self.kv[sequence.slots_L[seen]].double()
                    group = head * kv_heads // heads
                    scores = kv[:, group] @ self.q[row, head].double() * scale
                    if softcap:
                        scores = softcap * torch.tanh(scores / softcap)
                    out[row, head] = scores.softmax(0) @ kv[:, kv_heads + group]
        return out.float()


SHAPES = [
    [(1, 0)],
    [(7, 0)],
    [(1, 30), (1, 5), (1, 90), (1, 0)],
    [(5, 13), (1, 20), (70, 3), (1, 2), (2, 60)],
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("options", [{}, {"window": 4}, {"softcap": 0.7}, {"window": 33, "softcap": 1.5}])
def test_the_reference_is_the_formula(shape: list[tuple[int, int]], options: dict[str, Any]) -> None:
    case = Case(shape)
    torch.testing.assert_close(case.run(attention.attention, **options), case.formula(**options), atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("heads", [(4, 2), (6, 1), (3, 3)])
@pytest.mark.parametrize("window", [0, 4, 33])
def test_the_fused_kernel_agrees_with_the_reference(
    shape: list[tuple[int, int]], heads: tuple[int, int], window: int
) -> None:
    case = Case(shape, heads=heads[0], kv_heads=heads[1])
    found = case.run(attention_fused.attention, window=window)
    torch.testing.assert_close(found, case.run(attention.attention, window=window), atol=2e-6, rtol=1e-5)


def test_the_fused_kernel_declines_a_softcap() -> None:
    case = Case([(1, 3)])
    arguments = (case.q, case.kv, None, case.batch)
    assert attention_fused.fits(*arguments, scale=1.0)
    assert not attention_fused.fits(*arguments, scale=1.0, softcap=3.0)


@pytest.mark.parametrize("kernel", [attention.attention, attention_fused.attention])
def test_what_another_sequence_holds_never_leaks(kernel: Any) -> None:
    case = Case([(1, 30), (1, 3), (6, 2)])
    before = case.run(kernel)
    others = torch.ones(400, dtype=torch.bool)
    for sequence in case.batch.sequences[1:]:
        others[sequence.slots_L] = False
    case.kv[others] = math.nan
    after = case.run(kernel)
    assert torch.equal(after[1:], before[1:])
    assert after[0].isnan().any()


def test_decode_rows_are_grouped_by_length() -> None:
    batch = Case([(1, 30), (1, 5), (3, 4), (1, 200), (1, 99)]).batch
    # Below 128 slots padding costs less than another call.
    groups = {tuple(g.rows_B.tolist()): g.slots_BL.shape[1] for g in batch.decode_groups()}
    assert groups == {(0, 1, 6): 100, (5,): 201}
    assert [e.first for e in batch.extends()] == [2]


@pytest.mark.parametrize(
    ("length", "padded"), [(1, 64), (64, 64), (65, 128), (193, 384), (385, 512), (512, 512), (513, 576)]
)
def test_slots_are_padded_with_their_own(length: int, padded: int) -> None:
    slots = np.arange(1000, 1000 + length, dtype=np.int32)
    found = padded_slots(slots)
    assert len(found) == padded
    assert np.array_equal(found[:length], slots)
    assert set(found[length:].tolist()) <= {1000 + length - 1}


@pytest.mark.parametrize("kernel", [attention.attention, attention_fused.attention])
def test_padded_slots_change_nothing(kernel: Any) -> None:
    case = Case([(1, 30), (70, 3), (1, 250)])
    before = case.run(kernel)
    case.batch = PackedBatch(
        [s._replace(slots_L=torch.from_numpy(padded_slots(s.slots_L.numpy()))) for s in case.batch.sequences],
        case.batch.positions_T,
    )
    torch.testing.assert_close(case.run(kernel), before, atol=2e-6, rtol=1e-5)
