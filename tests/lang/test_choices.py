from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import radixlang as sgl
from radixlang.lang.choices import mean_logprob, option_probabilities, sample_option

OPTIONS = ["first", "second"]


def tokens(*values):
    return [[value, i, None] for i, value in enumerate(values)]


def decide(method, given_, alone=None):
    return method(
        choices=OPTIONS,
        normalized_prompt_logprobs=[mean_logprob(option) for option in given_],
        input_token_logprobs=given_,
        output_token_logprobs=[[], []],
        unconditional_token_logprobs=alone,
    )


def test_length_normalized_takes_the_best_mean():
    decision = decide(sgl.token_length_normalized, [tokens(-2.0), tokens(-1.3, -0.1, -0.1)])
    assert decision.decision == "second"
    assert decision.meta_info["normalized_prompt_logprobs"] == pytest.approx([-2.0, -0.5])


def test_greedy_looks_at_the_first_token_first_and_extends_the_shorter_with_its_mean():
    assert decide(sgl.greedy_token_selection, [tokens(-1.0), tokens(-1.3, -0.1)]).decision == "first"
    assert decide(sgl.greedy_token_selection, [tokens(-0.2), tokens(-0.2, -0.9)]).decision == "first"
    assert decide(sgl.greedy_token_selection, [tokens(-0.2), tokens(-0.2, -0.05)]).decision == "second"


def test_unconditional_removes_the_prior():
    given_ = [tokens(-0.3, -0.2), tokens(-1.0, -1.0)]
    assert (
        decide(sgl.unconditional_likelihood_normalized, given_, [tokens(None, -0.1), tokens(None, -5.0)]).decision
        == "second"
    )
    with pytest.raises(ValueError, match="needs unconditional"):
        decide(sgl.unconditional_likelihood_normalized, given_)
    with pytest.raises(ValueError, match="different numbers"):
        decide(sgl.unconditional_likelihood_normalized, given_, [tokens(None), tokens(None, -5.0)])


@pytest.mark.parametrize(
    "method", [sgl.token_length_normalized, sgl.greedy_token_selection, sgl.unconditional_likelihood_normalized]
)
def test_positions_without_a_logprob_and_certain_options_decide(method):
    """SGLang divides by zero on a certain option and fails on None."""
    for given_ in ([tokens(None, -0.5), tokens(None, -0.1)], [tokens(0.0), tokens(0.0)], [[], tokens(-1.0)]):
        alone = [[[None, 0, None] for _ in option] for option in given_]
        assert decide(method, given_, alone).decision in OPTIONS


@given(st.lists(st.floats(-700, 0), min_size=1, max_size=6), st.floats(0.05, 10))
def test_probabilities_are_a_distribution_ordered_as_the_totals(totals, temperature):
    found = option_probabilities(totals, temperature)
    assert math.isclose(sum(found), 1.0, rel_tol=1e-9)
    assert found[totals.index(max(totals))] == max(found)


def test_a_seed_draws_the_same_option():
    totals = [-1.0, -1.1, -1.2]
    assert len({sample_option(totals, 1.0, "7:x") for _ in range(10)}) == 1
    assert {sample_option(totals, 1.0, f"{seed}:x") for seed in range(60)} == {0, 1, 2}


def test_constrained_decoding_is_one_generation(native):
    backend = native(lambda prompt: "no")

    @sgl.function
    def p(s):
        s += "q " + sgl.select("c", ["yes", "no"], choices_method=sgl.constrained_decoding)

    assert p.run()["c"] == p.compile(mode="graph").run()["c"] == "no"
    first = backend.requests[0]
    assert first["constraint"] == {"type": "choice", "choices": ["yes", "no"]}
    assert first["sampling_params"]["temperature"] == 0
    with pytest.raises(sgl.ProgramError, match="scored"):
        p.run().probs("c")
