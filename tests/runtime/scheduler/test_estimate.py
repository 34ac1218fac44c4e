"""How long outputs are expected to be."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from radixlang.constrained.constraint import Regex
from radixlang.runtime.messages import Submit
from radixlang.runtime.request import Request
from radixlang.runtime.sampling_params import SamplingParams
from radixlang.runtime.scheduler.estimate import OutputEstimator


@pytest.fixture
def make_request():
    def make(*, client="a", max_new_tokens=1000, stop=(), constraint=None, ignore_eos=False):
        sampling = SamplingParams(max_new_tokens=max_new_tokens, stop=stop, ignore_eos=ignore_eos)
        submit = Submit(rid="r", token_ids=[1], sampling=sampling, client=client, constraint=constraint)
        return Request(submit, np.ones(1, np.int32), seq=1, now_s=0.0)

    return make


def test_a_call_site_is_told_from_the_others_of_its_client(make_request) -> None:
    estimator = OutputEstimator()
    judge, story = make_request(stop=("\n",)), make_request(constraint=Regex("a+"))
    for length in range(1, 11):
        estimator.add(judge, length)
        estimator.add(story, 100 * length)
    assert estimator.expected_len(judge, 4096) == 9  # 80 % of them were shorter
    assert estimator.expected_len(story, 4096) == 900


def test_a_new_site_is_expected_to_be_like_its_client_and_a_new_client_like_nobody(make_request) -> None:
    estimator = OutputEstimator()
    for _ in range(4):
        estimator.add(make_request(stop=("x",)), 7)
    assert estimator.expected_len(make_request(stop=("y",)), 4096) == 7
    assert estimator.expected_len(make_request(client="b"), 4096) == 1000
    assert estimator.expected_len(make_request(client="b"), 600) == 300


def test_a_site_is_remembered_without_its_constraint(make_request) -> None:
    estimator, constraint = OutputEstimator(), Regex("a{1,100000}")
    num_references = sys.getrefcount(constraint)
    estimator.add(make_request(constraint=constraint), 7)
    assert sys.getrefcount(constraint) == num_references


def test_what_is_known_is_not_estimated(make_request) -> None:
    estimator = OutputEstimator()
    for _ in range(8):
        estimator.add(make_request(), 7)
    assert estimator.expected_len(make_request(ignore_eos=True), 4096) == 1000
    assert estimator.expected_len(make_request(max_new_tokens=3), 4096) == 3
    retracted = make_request()
    retracted.times_retracted = 2
    assert estimator.expected_len(retracted, 4096) == 1000


def test_old_outputs_are_forgotten(make_request) -> None:
    estimator = OutputEstimator()
    for length in [900] * 64 + [5] * 64:
        estimator.add(make_request(), length)
    assert estimator.expected_len(make_request(), 4096) == 5
