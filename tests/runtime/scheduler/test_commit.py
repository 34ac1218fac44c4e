"""What ends a request, and what it is told of its tokens."""

from __future__ import annotations

from radixlang.runtime.messages import LogprobRequest


def test_a_stop_string_may_span_tokens(make_harness) -> None:
    harness = make_harness()
    text = "".join(chr(65 + token) for token in harness.expected([3, 4], 20))
    harness.submit("a", [3, 4], max_new_tokens=20, stop=("~~", text[4:7]))
    harness.submit("b", [3, 4], max_new_tokens=20, stop_regex=(f"{text[5]}.",) if text[5].isalnum() else (".{7}",))
    harness.run()
    assert (harness.finish["a"].type, harness.finish["a"].matched) == ("stop", text[4:7])
    assert len(harness.token_ids["a"]) == 7
    assert harness.finish["b"].type == "stop"


def test_end_of_sequence_ends_and_is_told(make_harness) -> None:
    eos = {t for t in range(0, 61, 3)}
    harness = make_harness(eos=eos)
    harness.submit("a", [8], max_new_tokens=40)
    harness.submit("ignoring", [8], max_new_tokens=9, ignore_eos=True)
    harness.run()
    expected = harness.expected([8], 40, eos=eos)
    assert harness.token_ids["a"] == expected
    assert (harness.finish["a"].type, harness.finish["a"].matched) == ("stop", expected[-1])
    assert len(harness.token_ids["ignoring"]) == 9


def test_no_token_asked_but_the_next_distribution(make_harness) -> None:
    harness = make_harness()
    harness.submit("a", [1, 2, 3], max_new_tokens=0, logprobs=LogprobRequest(True, -1, 2, (7,)))
    harness.run()
    (told,) = harness.outputs["a"][0].logprobs
    assert told.logprob == told.top[0][0] == max(harness.executor.score_after([1, 2, 3], t) for t in range(61))
    assert told.token_id == told.top[0][1]
    assert told.asked == [harness.executor.score_after([1, 2, 3], 7)]
    assert harness.token_ids["a"] == []


def test_a_request_that_streams_nothing_gets_one_output(make_harness) -> None:
    harness = make_harness()
    harness.submit("a", [1], max_new_tokens=5, echo_steps=False)
    harness.submit("b", [1], max_new_tokens=5)
    harness.run()
    assert [len(harness.outputs[rid]) for rid in "ab"] == [1, 5]
    assert harness.token_ids["a"] == harness.token_ids["b"]
