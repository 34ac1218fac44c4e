from __future__ import annotations

from radixlang.lang.sampling import SglSamplingParams, resolve, unset_sampling_params


def test_the_gen_beats_the_run_and_its_stop_replaces():
    default = SglSamplingParams(temperature=0.5, stop=["a"], max_new_tokens=9)
    own = unset_sampling_params(temperature=0.0, stop="b")
    found = resolve(default, own, ["<end>"])
    assert (found.temperature, found.max_new_tokens, found.stop) == (0.0, 9, ["b", "<end>"])
    assert (default.stop, own.stop) == (["a"], "b")


def test_no_list_of_the_caller_is_changed():
    stops = ["a"]
    found = resolve(SglSamplingParams(stop=stops), unset_sampling_params(), ["<end>"])
    found.stop.append("more")
    assert stops == ["a"]


def test_what_older_servers_do_not_know_is_sent_only_when_it_is_set():
    plain = SglSamplingParams().to_srt_kwargs()
    assert not {"ebnf", "sampling_seed", "logit_bias", "repetition_penalty"} & plain.keys()
    full = SglSamplingParams(seed=3, logit_bias={5: -1.0}, ebnf="root ::= [a]").to_srt_kwargs()
    assert (full["sampling_seed"], full["logit_bias"], full["ebnf"]) == (3, {"5": -1.0}, "root ::= [a]")


def test_request_fields_leave_out_what_is_not_given():
    assert SglSamplingParams().request_fields() == {}
    assert SglSamplingParams(return_logprob=True, top_logprobs_num=0).request_fields() == {
        "return_logprob": True,
        "top_logprobs_num": 0,
    }


def test_other_apis_get_what_they_take():
    params = SglSamplingParams(stop="x", temperature=1.5, top_k=4)
    assert params.to_anthropic_kwargs() == {"max_tokens": 128, "stop_sequences": ["x"], "temperature": 1.0, "top_k": 4}
    assert params.to_openai_kwargs()["stop"] == "x"
    assert params.to_vertexai_kwargs()["stop_sequences"] == ["x"]
