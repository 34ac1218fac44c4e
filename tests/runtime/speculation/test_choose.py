"""Lengths: never worse than the best of all choices by brute force, nothing where nothing pays."""

from __future__ import annotations

import itertools

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings

from radixlang.runtime.speculation.choose import MARGIN, choose_depth, choose_lengths, may_pay

LINEAR = np.arange(64, dtype=float)  # every row costs the same: nothing can be won
FLAT = np.ones(64)  # rows are free


def test_free_rows_are_all_used_and_dear_ones_never() -> None:
    chances = [np.array([0.9, 0.8]), np.array([0.5])]
    assert choose_lengths(chances, 2, FLAT) == [2, 1]
    assert choose_lengths(chances, 2, LINEAR) == [0, 0]
    assert choose_lengths([], 2, FLAT) == []


def test_the_better_draft_gets_the_rows() -> None:
    seconds = np.concatenate((np.ones(5), np.full(59, 100.0)))
    assert choose_lengths([np.array([0.3, 0.2]), np.array([0.9, 0.8])], 2, seconds) == [0, 2]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    rates=st.lists(st.lists(st.floats(0.01, 1), min_size=1, max_size=3), min_size=1, max_size=3),
    more_rows=st.integers(0, 2),
    increments=st.lists(st.floats(0, 2), min_size=14, max_size=14),
)
def test_no_other_choice_is_faster(rates, more_rows, increments) -> None:
    chances = [np.cumprod(r) for r in rates]
    num_rows = len(rates) + more_rows
    seconds = 1 + np.cumsum([0.0, *increments])

    def rate(lengths) -> float:
        tokens = num_rows + sum(c[:n].sum() for c, n in zip(chances, lengths, strict=True))
        return tokens / seconds[num_rows + sum(lengths)]

    best = max(rate(lengths) for lengths in itertools.product(*(range(c.size + 1) for c in chances)))
    none = rate([0] * len(chances))
    chosen = choose_lengths(chances, num_rows, seconds)
    if any(chosen):
        assert rate(chosen) >= best - 1e-9
        assert rate(chosen) >= MARGIN * none - 1e-9
    else:
        assert best <= MARGIN * none + 1e-9


def test_a_model_drafts_as_deep_as_its_steps_are_worth() -> None:
    assert choose_depth(0.9, 1, 1, FLAT, 0.0, 8) == 8
    assert choose_depth(0.9, 1, 1, FLAT, 0.2, 8) in range(1, 8)
    assert choose_depth(0.9, 1, 1, FLAT, 1.0, 8) == 0
    assert choose_depth(0.9, 1, 1, LINEAR, 0.0, 8) == 0
    assert choose_depth(0.9, 60, 60, FLAT, 0.0, 8) == 0  # no room


def test_where_every_row_costs_the_same_nothing_can_pay() -> None:
    assert may_pay(1, FLAT, 4)
    assert not may_pay(1, LINEAR, 4)
    assert not may_pay(63, FLAT, 4)
    assert not may_pay(0, FLAT, 4)
