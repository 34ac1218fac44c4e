"""Sessions over real HTTP and in this process: only what is new travels, and what was held is given back."""

import time

import httpx
import pytest

from radixlang.errors import RequestError

PARAMS = {"max_new_tokens": 8, "temperature": 0, "ignore_eos": True}


@pytest.fixture
def http(server_url):
    with httpx.Client(base_url=server_url, trust_env=False, timeout=60) as client:
        yield client


def gauges(http):
    """Empty where the engine did not answer within a second: then it is asked again."""
    deadline = time.monotonic() + 60
    while not (now := http.get("/get_server_info").json()["internal_states"][0]):
        assert time.monotonic() < deadline
    return now


def say(http, session, text, **params):
    body = {"text": text, "sampling_params": PARAMS, "session_params": {"id": session, **params}}
    return http.post("/generate", json=body)


def told(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_conversation_sends_what_is_new_and_equals_the_whole(http):
    before = gauges(http)["num_kept_streams"]
    session = http.post("/open_session", json={"capacity_of_str_len": 1000}).json()
    first = told(say(http, session, "Once upon a time there was a ship in the harbour of a town."))
    second = told(say(http, session, " Then", rid=first["meta_info"]["id"]))
    assert gauges(http)["num_kept_streams"] == before + 2
    prompt = first["meta_info"]["prompt_tokens"] + 8
    assert second["meta_info"]["prompt_tokens"] > prompt
    assert second["meta_info"]["cached_tokens"] >= prompt - 1
    whole = "Once upon a time there was a ship in the harbour of a town." + first["text"] + " Then"
    plain = told(http.post("/generate", json={"text": whole, "sampling_params": PARAMS}))
    assert plain["text"] == second["text"]
    assert http.post("/close_session", json={"session_id": session}).status_code == 200
    deadline = time.monotonic() + 10
    while gauges(http)["num_kept_streams"] != before:
        assert time.monotonic() < deadline


def test_branches_offsets_and_replacement(http):
    session = http.post("/open_session", json={"capacity_of_str_len": 4000, "session_id": "s-branches"}).json()
    assert session == "s-branches"
    root = told(say(http, session, "The capital of France is"))
    rid, length = root["meta_info"]["id"], root["meta_info"]["prompt_tokens"]
    left = told(say(http, session, " And Spain?", rid=rid))
    right = told(say(http, session, " And Spain?", rid=rid))
    assert left["text"] == right["text"]
    again = told(say(http, session, " not", rid=rid, drop_previous_output=True))
    assert again["meta_info"]["prompt_tokens"] == length + 1
    shorter = told(say(http, session, " river", rid=rid, offset=2))
    assert shorter["meta_info"]["prompt_tokens"] == 3
    told(say(http, session, " or", rid=rid, replace=True))
    gone = say(http, session, " x", rid=left["meta_info"]["id"])
    assert (gone.status_code, gone.json()["error"]["code"]) == (400, "unknown_request")
    told(say(http, session, "Anew", replace=True))
    assert say(http, session, " x", rid=rid).status_code == 400
    http.post("/close_session", json={"session_id": session})


def test_what_is_wrong_is_named(http):
    unknown = say(http, "nobody", "x")
    assert (unknown.status_code, unknown.json()["error"]["param"]) == (400, "session_params.id")
    assert http.post("/close_session", json={"session_id": "nobody"}).status_code == 404
    assert http.post("/open_session", json={}).json()["error"]["param"] == "capacity_of_str_len"
    assert http.post("/open_session", json={"capacity_of_str_len": -1}).status_code == 400
    bad_time = http.post("/open_session", json={"capacity_of_str_len": 1, "timeout": -5})
    assert bad_time.json()["error"]["param"] == "timeout"
    small = http.post("/open_session", json={"capacity_of_str_len": 4, "session_id": "small"}).json()
    twice = http.post("/open_session", json={"capacity_of_str_len": 4, "session_id": "small"})
    assert (twice.status_code, twice.json()["error"]["code"]) == (400, "duplicate_session")
    full = say(http, small, "one two three four five six seven")
    assert (full.status_code, full.json()["error"]["code"]) == (400, "session_full")
    far = say(http, small, "a", rid="zz")
    assert (far.status_code, far.json()["error"]["param"]) == (400, "session_params.rid")
    many = http.post(
        "/generate", json={"text": "a", "sampling_params": {**PARAMS, "n": 2}, "session_params": {"id": small}}
    )
    assert many.json()["error"]["param"] == "sampling_params.n"
    http.post("/close_session", json={"session_id": small})


def test_a_session_that_nobody_uses_ends(http):
    http.post("/open_session", json={"capacity_of_str_len": 500, "session_id": "stays"})
    before = gauges(http)["num_kept_streams"]
    opening = {"capacity_of_str_len": 500, "session_id": "leaves", "timeout": 0.5}
    http.post("/open_session", json=opening)
    rid = told(say(http, "leaves", "Hello there"))["meta_info"]["id"]
    deadline = time.monotonic() + 20
    while gauges(http)["num_kept_streams"] > before or http.post("/open_session", json=opening).status_code != 200:
        assert time.monotonic() < deadline
    assert say(http, "leaves", "x", rid=rid).json()["error"]["code"] == "unknown_request"
    http.post("/close_session", json={"session_id": "leaves"})
    assert http.post("/close_session", json={"session_id": "stays"}).status_code == 200


def test_another_key_is_another_client(http):
    mine = {"authorization": "Bearer mine"}
    session = http.post("/open_session", json={"capacity_of_str_len": 500}, headers=mine).json()
    assert say(http, session, "x").status_code == 400
    assert http.post("/close_session", json={"session_id": session}).status_code == 404
    assert http.post("/close_session", json={"session_id": session}, headers=mine).status_code == 200


def test_both_backends_have_sglangs_methods(backend):
    session = backend.open_session(1000)
    assert isinstance(session, str)
    backend.close_session(session)
    with pytest.raises(RequestError):
        backend.close_session(session)


def test_a_session_outlives_what_the_engine_forgot(engine):
    """Its leases gone, everything is sent once more."""
    session = engine.open_session(1000)
    first = engine.generate("The ship sails", PARAMS, session_params={"id": session})
    engine._assembled.scheduler._state.leases.release(next(iter(engine._assembled.scheduler._state.leases._leases)))
    second = engine.generate(" on", PARAMS, session_params={"id": session, "rid": first["meta_info"]["id"]})
    whole = engine.generate("The ship sails" + first["text"] + " on", PARAMS)
    assert second["text"] == whole["text"]
    engine.close_session(session)


def test_the_cache_tells_what_a_prompt_costs_and_keeps_what_is_pinned(http):
    text = "A pin keeps this prefix of a prompt in the cache, whatever else comes along today."
    cold = http.post("/v1/cache/lookup", json={"text": text}).json()
    pin = http.post("/v1/cache/pin", json={"text": text, "ttl": 60}).json()
    warm = http.post("/v1/cache/lookup", json={"text": text}).json()
    assert cold["cached_tokens"] < warm["cached_tokens"] == pin["pinned_tokens"] == warm["prompt_tokens"]
    assert http.post("/v1/cache/lookup", json={"text": text, "cache_salt": "x"}).json()["cached_tokens"] == 0
    assert gauges(http)["num_pins"] == 1
    tree = http.get("/v1/cache/tree?max_nodes=4000").json()
    assert any(node["is_pinned"] for node in tree["nodes"])
    assert http.delete(f"/v1/cache/pin/{pin['id']}").json()["deleted"]
    assert gauges(http)["num_pins"] == 0
    assert http.delete("/v1/cache/pin/session-x").status_code == 404
    for body, param in [({}, "text"), ({"text": "a", "ttl": 0}, "ttl"), ({"text": "a", "input_ids": [1]}, "text")]:
        answer = http.post("/v1/cache/pin", json=body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert http.get("/v1/cache/tree?max_nodes=-1").status_code == 400
    assert http.get("/v1/kv_events").json()["error"]["code"] == "kv_events_off"


def test_a_language_hint_pins(backend):
    name = backend.pin_prefix("A prefix that the language asked to keep, for a while.", ttl_s=30)
    assert backend.get_server_info()["internal_states"][0]["num_pins"] == 1
    backend.unpin_prefix(name)
    assert backend.get_server_info()["internal_states"][0]["num_pins"] == 0
