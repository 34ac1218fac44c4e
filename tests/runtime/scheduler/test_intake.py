"""What a request may ask, and what it is told when it may not."""

from __future__ import annotations

import pytest

from radixlang.constrained.constraint import Regex


def test_a_prompt_that_fits_nowhere_is_refused_with_numbers(make_harness) -> None:
    harness = make_harness(num_slots=32, max_context=64)
    harness.submit("a", [1] * 33, max_new_tokens=5)
    harness.step()
    finish = harness.finish["a"]
    assert (finish.type, finish.status, finish.code) == ("error", 400, "context_length_exceeded")
    assert "38" in finish.message
    assert "32" in finish.message


def test_max_new_tokens_is_capped_at_the_room_that_is_left(make_harness) -> None:
    harness = make_harness(num_slots=32, max_context=64)
    harness.submit("a", [1] * 20, max_new_tokens=1000)
    harness.run()
    assert len(harness.token_ids["a"]) == 12
    assert harness.finish["a"].type == "length"


def test_a_full_queue_answers_429(make_harness) -> None:
    harness = make_harness(max_running_requests=1, max_queued_requests=2)
    harness.submit("a", [1], max_new_tokens=50)
    harness.step()
    for rid in "bcd":
        harness.submit(rid, [1], max_new_tokens=1)
    harness.step()
    assert (harness.finish["d"].status, harness.finish["d"].code) == (429, "queue_full")
    harness.run()
    assert harness.finish["c"].type == "length"


def test_a_request_larger_than_the_queue_is_taken_where_nobody_else_waits(make_harness) -> None:
    harness = make_harness(max_running_requests=1, max_queued_requests=1)
    for index in range(40):
        harness.submit(f"n#{index}" if index else "n", [1], max_new_tokens=1, n=40, index=index, call="n")
    harness.step()
    for index in range(40):
        harness.submit(f"m{index}", [1], max_new_tokens=1, call="m")
    harness.run()
    assert [finish.type for rid, finish in harness.finish.items() if rid.startswith("n")] == ["length"] * 40
    assert {finish.code for rid, finish in harness.finish.items() if rid.startswith("m")} == {"queue_full"}


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"token_ids": []}, "input_ids", "empty_prompt"),
        ({"token_ids": [61]}, "input_ids", None),
        ({"token_ids": [-1]}, "input_ids", None),
        ({"token_ids": [1], "stop_regex": ("(",)}, "stop_regex", None),
        ({"token_ids": [1], "constraint": Regex("bad")}, None, "constraints_disabled"),
    ],
)
def test_bad_requests_end_alone_with_400(make_harness, fields, param, code) -> None:
    harness = make_harness()
    harness.submit("good", [1, 2], max_new_tokens=3)
    harness.submit("bad", **fields)
    harness.run()
    finish = harness.finish["bad"]
    assert (finish.type, finish.status, finish.param, finish.code) == ("error", 400, param, code)
    assert harness.token_ids["good"] == harness.expected([1, 2], 3)


def test_a_second_request_of_one_id_is_refused_and_the_first_goes_on(make_harness) -> None:
    harness = make_harness()
    harness.submit("a", [1, 2], max_new_tokens=3, echo_steps=False)
    harness.scheduler._drain()
    first = harness.scheduler._state.requests["a"]
    harness.submit("a", [5], max_new_tokens=1)
    harness.scheduler._drain()
    (refused,) = harness.scheduler._state.outputs
    assert (refused.finish.status, refused.finish.code) == (400, "duplicate_request_id")
    harness.scheduler._state.outputs.clear()
    assert harness.scheduler._state.requests["a"] is first
    harness.run()
    assert harness.token_ids["a"] == harness.expected([1, 2], 3)


def test_without_a_seed_the_server_s_seed_decides(make_harness) -> None:
    def run(random_seed):
        harness = make_harness(random_seed=random_seed)
        for rid in "ab":
            harness.submit(rid, [1, 2], max_new_tokens=8, temperature=1.0)
        harness.run()
        return [harness.token_ids[rid] for rid in "ab"]

    assert run(1) == run(1)
    assert run(1) != run(2)
    assert run(1)[0] != run(1)[1]
    assert run(None) != run(None)


def test_the_parts_of_one_call_are_one_waiting_request_but_not_without_end(make_harness) -> None:
    harness = make_harness(max_running_requests=1, max_queued_requests=2)
    harness.submit("running", [1], max_new_tokens=200)
    harness.step()
    harness.submit("other", [1], max_new_tokens=1)
    for index in range(40):
        harness.submit(f"part{index}", [1], max_new_tokens=1, call="batch")
    harness.submit("late", [1], max_new_tokens=1)
    harness.step()
    refused = {rid for rid, finish in harness.finish.items() if finish.status == 429}
    assert refused == {"late", *(f"part{index}" for index in range(31, 40))}
    harness.run()
    assert harness.finish["part30"].type == "length"
    harness.submit("again", [1], max_new_tokens=1)
    harness.run()
    assert harness.finish["again"].type == "length"
