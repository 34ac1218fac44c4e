"""The native request: SGLang's shape, nothing dropped, every refusal by name."""

import json

import pytest

from radixlang.constrained.constraint import Regex
from radixlang.errors import GrammarError, RadixlangError, RequestError, UnsupportedContent
from radixlang.runtime import native_api


def parse(**body):
    return native_api.parse(native_api.convert(body))


def refusal(**body):
    with pytest.raises(RadixlangError) as caught:
        parse(**body)
    assert caught.value.status in (400, 404)
    return caught.value


def test_text_and_ids_single_and_batch():
    assert parse(text="a").requests[0].prompt == ["a"]
    assert not parse(text="a").is_batch
    assert [r.prompt for r in parse(text=["a", "b"]).requests] == [["a"], ["b"]]
    assert parse(input_ids=[1, 2]).requests[0].prompt == [[1, 2]]
    assert [r.prompt for r in parse(input_ids=[[1], [2, 3]]).requests] == [[[1]], [[2, 3]]]
    assert parse(prompt_parts=["a", [5], "b"]).requests[0].prompt == ["a", [5], "b"]


def test_one_prompt_exactly():
    for body in ({}, {"text": "a", "input_ids": [1]}, {"text": []}, {"input_ids": []}, {"input_ids": [[1], []]}):
        assert isinstance(refusal(**body), RequestError)


def test_null_is_the_default():
    body = {name: None for name in native_api.NativeSampling.__struct_fields__}
    assert parse(text="a", sampling_params=body).requests[0].sampling == parse(text="a").requests[0].sampling


def test_a_string_stop_is_one_stop():
    assert parse(text="a", sampling_params={"stop": "END"}).requests[0].sampling.stop == ("END",)


def test_sampling_parameters_of_a_batch_are_matched_up():
    params = [{"max_new_tokens": 2}, {"max_new_tokens": 4}]
    assert [r.sampling.max_new_tokens for r in parse(text=["a", "b"], sampling_params=params).requests] == [2, 4]
    assert refusal(text=["a", "b", "c"], sampling_params=params).param == "sampling_params"


@pytest.mark.parametrize(
    ("params", "path"),
    [
        ({"temperature": "hot"}, "sampling_params.temperature"),
        ({"no_such_parameter": 1}, "sampling_params.no_such_parameter"),
        ({"max_new_tokens": 1.5}, "sampling_params.max_new_tokens"),
    ],
)
def test_wrong_types_and_unknown_parameters_are_named(params, path):
    assert refusal(text="a", sampling_params=params).param == path


def test_a_regex_becomes_a_constraint_and_two_constraints_are_refused():
    assert parse(text="a", sampling_params={"regex": "x+"}).requests[0].constraint == Regex("x+")
    error = refusal(text="a", sampling_params={"regex": "x+", "json_schema": "{}"})
    assert isinstance(error, GrammarError) or error.code == "conflicting_constraints"


def test_a_native_schema_admits_the_properties_that_it_names_and_no_others():
    given = {"type": "object", "properties": {"a": {"type": "integer"}}}
    for spelling in (given, json.dumps(given)):
        constraint = parse(text="x", sampling_params={"json_schema": spelling}).requests[0].constraint
        assert json.loads(constraint.schema) == {**given, "additionalProperties": False}


def test_a_constraint_of_the_language_and_a_parameter_conflict():
    error = refusal(text="a", constraint={"type": "regex", "pattern": "x"}, sampling_params={"regex": "y"})
    assert error.code == "conflicting_constraints"


def test_images_are_refused_not_dropped():
    assert isinstance(refusal(text="a", image_data="x"), UnsupportedContent)


def test_log_probabilities_start_where_asked():
    def wanted(**body):
        return parse(text="a", return_logprob=True, **body).requests[0].logprobs

    assert parse(text="a").requests[0].logprobs is None
    assert wanted().prompt_start == -1
    assert wanted(logprob_start_len=0).prompt_start == 0
    # SGLang's frontend asks from two before the end and expects the last prompt token first
    assert wanted(logprob_start_len=5).prompt_start == 6
    assert wanted(sampling_params={"max_new_tokens": 0}).prompt_start == 0
    assert wanted(top_logprobs_num=3, token_ids_logprob=[7]).token_ids == (7,)


def test_a_call_may_say_what_its_program_needs_next():
    later = {"keep": "b", "prompt_parts": ["You are", [7]], "next_use": 2}
    first, second = parse(text=["x", "y"], next_use=3, expects=[later]).requests
    assert (first.next_use, second.next_use) == (3, 3)
    assert [(e.keep, e.prompt_parts, e.next_use) for e in first.expects] == [("b", ["You are", [7]], 2)]
    assert second.expects == []
    assert refusal(text="x", next_use=-1).param == "next_use"
    assert refusal(text="x", expects=[{**later, "next_use": 0}]).param.startswith("expects")
    assert refusal(text="x", expects=[later] * 65).param == "expects"


def test_a_program_id_is_short_text():
    assert [r.program for r in parse(text=["a", "b"], program_id="run-1").requests] == ["run-1"] * 2
    assert parse(text="a").requests[0].program == ""
    for wrong in ("", "x" * 129, 7, ["a"]):
        assert refusal(text="a", program_id=wrong).param == "program_id"
