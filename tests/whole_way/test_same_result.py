"""The same program gives the same result in-process and over HTTP, alone or batched, cold or warm, under pressure."""

import json
import re

import pytest

import radixlang as sgl

MODEL = "smollm2-135m-instruct"


@sgl.function
def everything(s, topic):
    s += sgl.system("You are brief.")
    s += sgl.user("Tell me about " + topic + ".")
    s += sgl.assistant(sgl.gen("answer", max_tokens=16))
    s += sgl.user("In which year?")
    s += sgl.assistant(sgl.gen("year", regex=r"(19|20)\d{2}", max_tokens=8))
    branches = s.fork(2)
    branches += lambda i: (
        sgl.user(["Is it big?", "Is it old?"][i]) + sgl.assistant(sgl.select("verdict", ["yes", "no"]))
    )
    branches.join()


def outcome(state):
    return {name: state[name] for name in ("answer", "year", "verdict")} | {"text": state.text()}


TOPICS = ["ships", "the moon", "bread", "Paris", "rain", "chess"]


@pytest.fixture(scope="module")
def alone(engine):
    """Each program run by itself on a cold cache."""
    results = []
    for topic in TOPICS:
        engine.flush_cache()
        results.append(outcome(everything.run(topic=topic, temperature=0, backend=engine)))
    return results


def test_values_are_what_was_asked_for(alone):
    for result in alone:
        assert re.fullmatch(r"(19|20)\d{2}", result["year"])
        assert set(result["verdict"]) <= {"yes", "no"}
        assert len(result["verdict"]) == 2


def test_warm_equals_cold(engine, alone):
    again = [outcome(everything.run(topic=t, temperature=0, backend=engine)) for t in TOPICS]
    assert again == alone


def test_in_a_batch_equals_alone(backend, alone):
    states = everything.run_batch([{"topic": t} for t in TOPICS], temperature=0, backend=backend)
    assert [outcome(s) for s in states] == alone


def test_under_eviction_pressure_equals_alone(alone):
    with sgl.Engine(model_path=MODEL, max_total_tokens=640, context_length=512) as small:
        states = everything.run_batch([{"topic": t} for t in TOPICS], temperature=0, backend=small)
        assert [outcome(s) for s in states] == alone


def test_small_steps_equal_large_ones(alone):
    with sgl.Engine(model_path=MODEL, max_total_tokens=4096, chunked_prefill_size=7) as engine:
        results = [outcome(everything.run(topic=t, temperature=0, backend=engine)) for t in TOPICS[:2]]
        assert results == alone[:2]


def test_without_a_cache_equals_with_one(alone):
    with sgl.Engine(model_path=MODEL, max_total_tokens=8192, disable_radix_cache=True) as engine:
        assert outcome(everything.run(topic=TOPICS[0], temperature=0, backend=engine)) == alone[0]


def test_planning_a_step_ahead_changes_nothing(alone):
    """Programs with grammars and forks, and a batch with penalties, stops, seeds and a schema."""
    asked = [
        {"max_new_tokens": 20, "temperature": 0},
        {"max_new_tokens": 20, "temperature": 1.0, "sampling_seed": 3, "frequency_penalty": 1.0},
        {"max_new_tokens": 20, "temperature": 0.8, "sampling_seed": 4, "repetition_penalty": 1.3, "min_new_tokens": 5},
        {"max_new_tokens": 30, "temperature": 0, "stop": ["the"]},
        {"max_new_tokens": 40, "temperature": 0, "json_schema": '{"type": "array", "items": {"enum": ["ab", "cd"]}}'},
    ]
    drawn = []
    for sync in (True, False):
        with sgl.Engine(
            model_path=MODEL, max_total_tokens=8192, disable_overlap_schedule=sync, chunked_prefill_size=64
        ) as engine:
            states = everything.run_batch([{"topic": t} for t in TOPICS[:3]], temperature=0, backend=engine)
            assert [outcome(s) for s in states] == alone[:3]
            drawn.append([a["output_ids"] for a in engine.generate(["Once upon a time"] * len(asked), asked)])
    assert drawn[0] == drawn[1]


def test_a_seed_gives_the_same_text_whatever_runs_beside_it(engine):
    body = {"text": "Once upon a time", "sampling_params": {"max_new_tokens": 24, "sampling_seed": 7}}
    one = engine.generate(body["text"], body["sampling_params"])["text"]
    many = [a["text"] for a in engine.generate([body["text"]] * 4, body["sampling_params"])]
    assert many == [one] * 4
    other = engine.generate(body["text"], {**body["sampling_params"], "sampling_seed": 8})["text"]
    assert other != one


def test_json_is_valid_in_both(backend):
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": False,
    }

    @sgl.function
    def number(s):
        s += "A number as JSON: " + sgl.gen("json", json_schema=json.dumps(schema), max_tokens=40)

    assert isinstance(json.loads(number.run(temperature=0, backend=backend)["json"])["n"], int)
