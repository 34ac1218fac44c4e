"""Which predictor a request is guessed with, and what it has learned of the request."""

from __future__ import annotations

import numpy as np
import pytest

from radixlang.runtime.messages import Submit
from radixlang.runtime.model_runner.plan import Guessed
from radixlang.runtime.request import Request
from radixlang.runtime.sampling_params import SamplingParams
from radixlang.runtime.speculation.predictions import Predictions


class Predicting:
    """An executor whose predictors note what they learn."""

    max_guessed = 5

    class Predictor:
        def __init__(self) -> None:
            self.learned: list[list[int]] = []

        def learn(self, ids_N, begin) -> None:
            self.learned.append(ids_N[begin:].tolist())

    def new_predictor(self, habits=None):
        self.habits = habits
        return self.Predictor()


@pytest.fixture
def request_of():
    def make(rid="a", namespace=""):
        submit = Submit(rid=rid, token_ids=[1, 2, 3], sampling=SamplingParams(), namespace=namespace)
        return Request(submit, np.array([1, 2, 3], np.int32), seq=1, now_s=0.0)

    return make


def int32(*values) -> np.ndarray:
    return np.array(values, np.int32)


def test_each_token_of_a_request_is_learned_once(request_of) -> None:
    predictions, request = Predictions(Predicting(), max_guessed=16), request_of()
    guessing = predictions.guessing(request, int32(1, 2, 3), 7)
    assert (guessing.num_learned, guessing.streak, guessing.max_guessed, guessing.num_rounds) == (0, 0, 5, 7)
    predictions.guessed(request, Guessed(5, 2, 1, 1, 1, 1))
    guessing = predictions.guessing(request, int32(1, 2, 3, 4, 5, 6), 7)
    assert (guessing.num_learned, guessing.streak) == (5, 2)
    predictions.observe(request, int32(1, 2, 3, 4, 5, 6, 7))
    predictions.forget(request)
    assert guessing.predictor.learned == [[6, 7]]
    assert predictions.guessing(request, int32(1, 2), 7).num_learned == 0


def test_tokens_taken_back_are_learned_again(request_of) -> None:
    predictions, request = Predictions(Predicting(), max_guessed=16), request_of()
    predictions.guessed(request, Guessed(9, 4, 1, 1, 1, 1))
    guessing = predictions.guessing(request, int32(1, 2, 3, 4), 7)
    assert (guessing.num_learned, guessing.streak) == (4, 0)


def test_every_namespace_begins_with_the_habits(request_of) -> None:
    executor, habits = Predicting(), object()
    predictions = Predictions(executor, max_guessed=2, habits=habits)
    for name in "ab":
        executor.habits = None
        predictions.guessing(request_of(name, name), int32(1), 2)
        assert executor.habits is habits


def test_namespaces_share_nothing_and_few_are_remembered(request_of) -> None:
    predictions = Predictions(Predicting(), max_guessed=2)
    requests = [request_of(str(number), f"n{number}") for number in range(9)]
    found = [predictions.guessing(request, int32(1), 2).predictor for request in requests]
    assert len(set(map(id, found))) == 9
    assert predictions.guessing(requests[8], int32(1), 2).predictor is found[8]
    assert predictions.guessing(requests[0], int32(1), 2).predictor is not found[0]
    predictions.flush()
    assert predictions.guessing(requests[8], int32(1), 2).predictor is not found[8]
