"""Acceptance: the estimate comes to the truth, for the class and for the request."""

from __future__ import annotations

import numpy as np
import pytest

from radixlang.runtime.speculation.acceptance import Acceptance
from radixlang.runtime.speculation.drafter import Draft
from radixlang.runtime.speculation.token_tree import Trial


def draft_of(length, kind="tree", strength=0):
    return Draft(np.arange(length, dtype=np.int32), kind, strength)


@pytest.mark.parametrize("rate", [0.1, 0.6, 0.95])
@pytest.mark.parametrize("strength", [0, 5, 40])
def test_a_class_learns_the_chance_of_a_token(rate, strength, make_track) -> None:
    acceptance, draw = Acceptance(), np.random.default_rng(0)
    for _ in range(600):
        right = draw.random(4) < rate
        num_right = 4 if right.all() else int(right.argmin())
        acceptance.add(
            make_track([1]), draft_of(4, "ngram" if strength else "tree", strength), Trial(4, num_right, None)
        )
    chances = acceptance.chances(make_track([1]), draft_of(3, "ngram" if strength else "tree", strength))
    assert chances[0] == pytest.approx(rate, abs=0.12)
    assert chances.tolist() == sorted(chances.tolist(), reverse=True)
    if strength in (0, 40):
        assert chances[2] == pytest.approx(chances[0] ** 3)


def test_a_request_that_always_fails_is_known_apart_from_its_class(make_track) -> None:
    acceptance, bad, good = Acceptance(), make_track([1]), make_track([1])
    for _ in range(10):
        acceptance.add(bad, draft_of(1), Trial(1, 0, None))
        acceptance.add(good, draft_of(1), Trial(1, 1, None))
    assert acceptance.chances(bad, draft_of(1))[0] < 0.3
    assert acceptance.chances(good, draft_of(1))[0] > 0.8


def test_sampled_requests_teach_nothing_about_greedy_ones(make_track) -> None:
    acceptance = Acceptance()
    before = acceptance.chances(make_track([1]), draft_of(1))[0]
    for _ in range(100):
        acceptance.add(make_track([1], temperature=1.0), draft_of(2), Trial(2, 0, None))
    assert acceptance.chances(make_track([1]), draft_of(1))[0] == before
    assert acceptance.chance(make_track([1], temperature=1.0), "tree") < 0.1


def test_the_longer_the_match_the_surer_the_guess_before_anything_is_known(make_track) -> None:
    acceptance = Acceptance()
    chances = [acceptance.chances(make_track([1]), draft_of(1, "ngram", s))[0] for s in (2, 3, 4, 6, 9, 17, 40)]
    assert chances == sorted(chances)
    assert len(set(chances)) == 6
