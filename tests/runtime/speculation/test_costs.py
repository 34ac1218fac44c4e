"""Step costs: what was measured is told, what was not is estimated along the curve, old truths go."""

from __future__ import annotations

import numpy as np
import pytest

from radixlang.runtime.speculation.costs import MAX_ROWS, StepCosts


def test_a_curve_goes_through_what_was_measured_and_keeps_its_shape_between() -> None:
    costs = StepCosts()
    guess = costs.curve(100).copy()
    for _ in range(200):
        costs.add(1, 100, 2.0)
        costs.add(8, 100, 4.0)
    curve = costs.curve(100)
    assert curve[1] == pytest.approx(2.0)
    assert curve[8] == pytest.approx(4.0)
    assert curve[1] < curve[4] < curve[8]
    assert curve[64] / curve[8] == pytest.approx(guess[64] / guess[8])
    assert np.all(np.diff(curve[1:]) >= 0)


def test_a_context_never_measured_borrows_from_the_nearest() -> None:
    costs = StepCosts()
    costs.add(1, 100, 2.0)
    assert costs.curve(100_000)[1] == pytest.approx(2.0)
    costs.add(1, 4000, 6.0)
    assert costs.curve(100_000)[1] == pytest.approx(costs.curve(4000)[1])
    assert costs.curve(100)[1] == pytest.approx(2.0)


def test_one_slow_step_proves_little_and_is_forgotten() -> None:
    costs = StepCosts()
    for _ in range(50):
        costs.add(1, 100, 1.0)
    before = costs.curve(100)[4]
    costs.add(4, 100, 1000.0)
    assert before < costs.curve(100)[4] <= 1.5 * before
    for _ in range(5000):
        costs.add(1, 100, 1.0)
    assert costs.curve(100)[4] == pytest.approx(before)


def test_steps_that_cannot_be_are_not_counted() -> None:
    costs = StepCosts()
    before = costs.curve(1).copy()
    for rows, seconds in ((0, 1.0), (MAX_ROWS + 1, 1.0), (3, 0.0)):
        costs.add(rows, 1, seconds)
    assert np.array_equal(costs.curve(1), before)
