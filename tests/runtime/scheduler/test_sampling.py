"""What the executor is asked to draw, and how."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from radixlang.runtime.messages import LogprobRequest

EOS = 5


@pytest.fixture
def record(make_harness):
    """A harness, and the sample plans of each step."""
    harness = make_harness(eos={EOS})
    steps = []
    execute = harness.executor.execute

    def recording(plan):
        live = [(sample, sample.penalty_ids.copy(), sample.penalty_counts.copy()) for sample in plan.samples]
        steps.append([sample._replace(penalty_ids=ids, penalty_counts=counts) for sample, ids, counts in live])
        return execute(plan)

    harness.executor.execute = recording
    return harness, steps


def test_penalties_count_prompt_and_output(record) -> None:
    harness, steps = record
    prompt = [3, 3, 9, 12]
    harness.submit("a", prompt, max_new_tokens=30, presence_penalty=0.5, repetition_penalty=1.2, ignore_eos=True)
    harness.run()
    output = harness.token_ids["a"]
    for drawn, (sample,) in enumerate(steps):
        counts = Counter(output[:drawn])
        told = dict(zip(sample.penalty_ids.tolist(), sample.penalty_counts.tolist(), strict=True))
        assert told == {token: counts[token] for token in {*prompt, *output[:drawn]}}
        assert (sample.presence_penalty, sample.repetition_penalty, sample.frequency_penalty) == (0.5, 1.2, 0.0)
        assert sample.counter == drawn


def test_no_penalty_counts_nothing(record) -> None:
    harness, steps = record
    harness.submit("a", [3, 3], max_new_tokens=3)
    harness.run()
    assert all(not sample.penalty_ids.size for (sample,) in steps)


def test_the_ids_that_end_a_text_are_banned_at_first(record) -> None:
    harness, steps = record
    harness.submit("a", [3], max_new_tokens=4, min_new_tokens=2, stop_token_ids=(8,), logit_bias={8: 50.0, 9: 1.5})
    harness.run()
    biases = [dict(zip(sample.bias_ids.tolist(), sample.bias_values.tolist(), strict=True)) for (sample,) in steps]
    assert biases[:2] == [{5: -np.inf, 8: -np.inf, 9: 1.5}] * 2
    assert all(bias == {8: 50.0, 9: 1.5} for bias in biases[2:])


def test_seeds_are_unsigned_and_log_probabilities_are_asked_for(record) -> None:
    harness, steps = record
    harness.submit("a", [3], max_new_tokens=1, sampling_seed=-1, top_k=-1, logprobs=LogprobRequest(True, -1, 3, (1, 2)))
    harness.run()
    ((sample,),) = steps
    assert sample.seed == 2**64 - 1
    assert (sample.top_k, sample.num_top, sample.logprob_ids.tolist()) == (0, 3, [1, 2])
    (told,) = harness.outputs["a"][0].logprobs
    assert len(told.top) == 3
    assert len(told.asked) == 2
