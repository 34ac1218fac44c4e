"""Tokens that a matcher takes back: drawn again, told to nobody, the same whatever overlaps."""

from __future__ import annotations

import copy
from concurrent.futures import Future
from types import SimpleNamespace

import numpy as np
import pytest

from radixlang.constrained.constraint import Regex
from radixlang.constrained.matcher import Steady
from radixlang.runtime.messages import LogprobRequest

VOCAB = 61


class RegretMatcher(Steady):
    """Allows a few tokens a place; regrets some once it has them, alone or with the one before."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.taken: list[int] = []
        self.banned: dict[int, set[int]] = {}
        self.take_back = 0
        self.error: str | None = None
        self.num_regrets = self.num_dead_ends = 0

    def copy(self) -> RegretMatcher:
        return copy.deepcopy(self)

    @property
    def num_open(self) -> int:
        return 0 if self.is_finished else min(3, len(self.taken))

    @property
    def is_finished(self) -> bool:
        return not self.take_back and len(self.taken) >= self.length

    is_accepting = is_finished

    def fill(self, mask_W) -> None:
        mask_W[:] = 0
        place = len(self.taken)
        allowed = {(11 * place + 5 * k) % VOCAB for k in range(6)} - self.banned.get(place, set())
        if place % 4 == 1 and self.taken[-1] % 2 == 0:  # found out too late
            allowed = set()
            self.num_dead_ends += 1
        for token in allowed:
            mask_W[token // 32] |= np.uint32(1 << (token % 32))
        if not allowed:
            self.regret(1)

    def regret(self, num_tokens: int) -> None:
        place = len(self.taken) - num_tokens
        if place < 0:
            self.error = "nothing is left"
            return
        self.banned.setdefault(len(self.taken) - 1, set()).add(self.taken[-1])
        self.take_back = num_tokens

    def accept(self, token_id: int) -> bool:
        self.taken.append(token_id)
        if token_id % 3 == 0:
            self.num_regrets += 1
            self.regret(min(len(self.taken), 1 + token_id % 2))
        return True

    def rollback(self, num_tokens: int) -> None:
        del self.taken[len(self.taken) - num_tokens :]
        self.take_back = 0

    def forced(self) -> list[int]:
        return []


class RegretGrammars:
    """Every constraint is a RegretMatcher, which the test may look at."""

    def __init__(self) -> None:
        self.matchers: list[RegretMatcher] = []

    def submit(self, constraint) -> Future:
        def matcher(_: int) -> RegretMatcher:
            self.matchers.append(RegretMatcher(int(constraint.pattern)))
            return self.matchers[-1]

        future: Future = Future()
        future.set_result(SimpleNamespace(matcher=matcher))
        return future


@pytest.mark.parametrize("streams", [True, False])
def test_what_was_taken_back_is_told_to_nobody(make_harness, streams: bool) -> None:
    told = {}
    for overlap in (False, True):
        grammars = RegretGrammars()
        harness = make_harness(grammars=grammars, disable_overlap_schedule=not overlap)
        for i in range(4):
            fields = {"constraint": Regex(str(12 + i))} if i < 3 else {}
            harness.submit(
                f"r{i}", [i, 2], max_new_tokens=40, temperature=1.0, sampling_seed=i, echo_steps=streams, **fields
            )
        harness.run()
        for i, matcher in enumerate(grammars.matchers):
            assert matcher.num_regrets
            assert matcher.num_dead_ends
            assert harness.token_ids[f"r{i}"] == matcher.taken
            assert harness.finish[f"r{i}"].type == "stop"
            assert not any(token % 3 == 0 for token in matcher.taken)
        assert harness.token_ids["r3"] == harness.expected([3, 2], 40, seed=3, temperature=1.0)
        assert harness.stats["num_used_tokens"] == 0
        assert harness.stats["retaken_tokens_total"] >= sum(matcher.num_regrets for matcher in grammars.matchers)
        told[overlap] = harness.token_ids
    assert told[False] == told[True]


def test_log_probabilities_are_those_of_the_tokens_that_stay(make_harness) -> None:
    grammars = RegretGrammars()
    harness = make_harness(grammars=grammars)
    harness.submit("a", [1, 2], max_new_tokens=40, constraint=Regex("9"), logprobs=LogprobRequest(True, -1, 0, ()))
    harness.run()
    told = [one.token_id for output in harness.outputs["a"] for one in output.logprobs]
    assert told == harness.token_ids["a"] == grammars.matchers[0].taken


def test_penalties_count_only_what_stays(make_harness) -> None:
    grammars = RegretGrammars()
    harness = make_harness(grammars=grammars)
    harness.submit("a", [1, 2], max_new_tokens=40, constraint=Regex("9"), frequency_penalty=1.0)
    counts = {}
    while not harness.finish:
        harness.step()
        request = harness.scheduler._state.requests.get("a")
        if request is not None and request.penalties is not None and grammars.matchers:
            penalties = request.penalties
            counts = {t: n for t, n in zip(penalties.ids.tolist(), penalties.counts.tolist(), strict=True) if n}
            assert counts == {t: grammars.matchers[0].taken.count(t) for t in grammars.matchers[0].taken}
    assert counts


def test_an_answer_that_cannot_be_is_an_error_of_its_own(make_harness, monkeypatch) -> None:
    monkeypatch.setattr(RegretMatcher, "error_code", "constraint_failed")
    monkeypatch.setattr(RegretMatcher, "accept", lambda self, token: self.taken.append(token) or self.regret(1) is None)
    harness = make_harness(grammars=RegretGrammars())
    harness.submit("a", [1, 2], max_new_tokens=40, constraint=Regex("9"))
    harness.submit("b", [1, 2], max_new_tokens=5)
    harness.run()
    assert (harness.finish["a"].type, harness.finish["a"].code, harness.finish["a"].status) == (
        "error", "constraint_failed", 422,
    )  # fmt: skip
    assert harness.token_ids["b"] == harness.expected([1, 2], 5)
