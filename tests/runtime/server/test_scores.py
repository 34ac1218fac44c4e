"""Scores, decisions and vectors."""

import asyncio
import base64
import math
import struct

import pytest

from radixlang.runtime.messages import Finish, Output, Outputs, Submit
from radixlang.runtime.server.generation import WIDTH


def test_scores_are_probabilities_of_the_labels_in_their_order(serve):
    client = serve(reply=b"x")
    body = {"query": "q", "items": ["a", "b"], "label_token_ids": [5, 6]}
    plain = client.post("/v1/score", body).json()["scores"]
    assert plain == [[pytest.approx(math.exp(-1)), pytest.approx(math.exp(-2))]] * 2
    shares = client.post("/v1/score", {**body, "apply_softmax": True}).json()["scores"]
    assert all(sum(s) == pytest.approx(1) and s[0] > s[1] for s in shares)


def test_query_and_item_are_one_text(serve, byte_tokenizer):
    client = serve(reply=b"x")
    client.post("/v1/score", {"query": "th", "items": "is", "label_token_ids": [5]})
    client.post("/v1/score", {"query": "th", "items": ["is"], "label_token_ids": [5], "item_first": True})
    client.post("/v1/score", {"query": [1], "items": [[2, 3]], "label_token_ids": [5]})
    first, second, third = (s.token_ids for s in client.submits)
    assert (byte_tokenizer.decode(first), byte_tokenizer.decode(second)) == ("this", "isth")
    assert third == [1, 2, 3]


def test_three_kinds_of_questions(serve):
    questions = {
        "n": {"type": "noul", "instructions": "?"},
        "c": {"type": "choice", "criteria": {"fire": None, "ice": "cold"}},
        "s": {"type": "score", "criteria": ["low", "mid", "high"]},
    }
    told = serve().post("/v1/systemone", {"state": {"a": 1}, "questions": questions}).json()
    answers = told["answers"]
    assert 0 <= answers["n"]["noul"] <= 1
    assert answers["c"]["choice"] in ("fire", "ice")
    assert sum(answers["c"]["probabilities"].values()) == pytest.approx(1)
    assert 0 <= answers["s"]["score"] <= 2
    assert answers["s"]["legend"] == {"0": "low", "1": "mid", "2": "high"}
    assert 0 <= answers["c"]["confidence"] <= 1


def test_vectors_have_unit_length_in_both_encodings(serve):
    client = serve(hidden=[3.0, 4.0])
    told = client.post("/v1/embeddings", {"input": ["a", "b"]}).json()
    assert [d["embedding"] for d in told["data"]] == [[pytest.approx(0.6), pytest.approx(0.8)]] * 2
    assert [d["index"] for d in told["data"]] == [0, 1]
    packed = client.post("/v1/embeddings", {"input": "a", "encoding_format": "base64"}).json()["data"][0]["embedding"]
    assert struct.unpack("<2f", base64.b64decode(packed)) == pytest.approx((0.6, 0.8))
    assert client.post("/v1/embeddings", {"input": "a", "dimensions": 1}).status_code == 400


@pytest.mark.parametrize("given", ["a", ["a"], [1, 2], [[1, 2], [3]]])
def test_inputs_of_four_kinds(serve, given):
    told = serve(hidden=[1.0]).post("/v1/embeddings", {"input": given}).json()
    assert len(told["data"]) == (2 if given == [[1, 2], [3]] else 1)


def test_tokens_round_trip_under_every_name(serve):
    client = serve()
    for body in ({"prompt": "this"}, {"content": "this"}, {"text": "this"}):
        for path in ("/tokenize", "/v1/tokenize"):
            ids = client.post(path, body).json()["tokens"]
            told = client.post("/detokenize", {"tokens": ids}).json()
            assert told["text"] == told["content"] == told["prompt"] == "this"
    pieces = client.post("/tokenize", {"content": "is", "with_pieces": True}).json()["tokens"]
    assert pieces == [{"id": 258, "piece": "is"}]


def test_info_routes(serve):
    client = serve()
    for path in ("/get_model_info", "/model_info"):
        assert client.get(path).json()["model_path"] == "tiny"
    for path in ("/get_server_info", "/server_info", "/get_server_args"):
        told = client.get(path).json()
        assert told["version"]
        assert told["max_running_requests"] >= 1
        assert isinstance(told["internal_states"], list)
        assert "api_key" not in told
    assert client.get("/v1/models").json()["data"][0]["max_model_len"] == 512
    assert client.get("/v1/loads").status_code == 200
    assert client.get("/health_generate").status_code == 200
    assert client.get("/ping").status_code == 200


def test_a_busy_engine_is_told_of_by_its_last_snapshot(serve, monkeypatch):
    client = serve()

    async def fresh():
        return {"num_running_reqs": 3}

    async def busy():
        raise asyncio.TimeoutError

    monkeypatch.setattr(client.service.front, "stats", fresh)
    assert client.get("/get_server_info").json()["internal_states"] == [{"num_running_reqs": 3}]
    monkeypatch.setattr(client.service.front, "stats", busy)
    [state] = client.get("/get_server_info").json()["internal_states"]
    assert state.pop("snapshot_age_s") >= 0
    assert state == {"num_running_reqs": 3}
    assert client.get("/v1/loads").status_code == 503  # a balancer is not told what was


def test_metrics_count_what_passed(serve):
    client = serve(reply=b"abc")
    client.post("/generate", {"text": "hello"})
    text = client.get("/metrics").text
    assert "radixlang:prompt_tokens_total 5.0" in text
    assert "radixlang:generation_tokens_total 3.0" in text
    assert 'radixlang:http_responses_total{status="200"} 1.0' in text
    assert "radixlang:num_requests_total 1.0" in text


def test_decisions_in_openais_shape(serve):
    pytest.importorskip("openai")
    from openai.types import Decision

    questions = [
        {"type": "predicate", "name": "p", "instructions": "It burns."},
        {"type": "choice", "instructions": "?", "choices": [{"value": True}, {"value": "ice", "description": "cold"}]},
        {
            "type": "score",
            "instructions": [{"type": "input_text", "text": "?"}],
            "levels": [{"label": "low"}, {"label": "high"}],
        },
    ]
    state = [{"role": "user", "content": [{"type": "input_text", "text": "The ship is on fire."}]}]
    told = Decision.model_validate(serve().post("/v1/decisions", {"input": state, "questions": questions}).json())
    predicate, choice, score = told.answers
    assert (predicate.name, choice.name) == ("p", None)
    assert 0 <= predicate.probability <= 1
    assert choice.choice in (True, "ice")
    assert [p.value for p in choice.probabilities] == [True, "ice"]
    assert sum(p.probability for p in choice.probabilities) == pytest.approx(1)
    assert [(p.value, p.label) for p in score.probabilities] == [(0, "low"), (1, "high")]
    assert 0 <= score.score <= 1


@pytest.mark.parametrize(
    ("question", "param"),
    [
        ({"type": "choice", "instructions": "?", "choices": [{"value": "a"}]}, "questions.0.choices"),
        ({"type": "choice", "instructions": "?", "choices": [{"value": "a"}, {"value": "a"}]}, "questions.0.choices"),
        (
            {"type": "score", "instructions": "?", "levels": [{"label": str(i)} for i in range(99)]},
            "questions.0.levels",
        ),
        ({"type": "predicate", "instructions": [{"type": "input_image"}]}, "questions.0.instructions.0"),
        ({"type": "essay"}, "questions.0.type"),
    ],
)
def test_bad_decisions(serve, question, param):
    answer = serve().post("/v1/decisions", {"input": "a", "questions": [question]})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_the_prompt_of_a_chat_is_shown(serve):
    client = serve(reply=b"x")
    body = {"messages": [{"role": "user", "content": "hi"}]}
    for path in ("/v1/chat/completions/render", "/apply-template"):
        told = client.post(path, body).json()
        assert told["prompt"] == "<user>hi</user><assistant>"
    client.post("/v1/chat/completions", body)
    assert client.submits[0].token_ids == told["prompt_token_ids"]


MANY = [
    ("/v1/rerank", {"query": "q", "documents": list("abcdefgh")}),
    ("/classify", {"input": list("abcdefgh"), "labels": ["x", "y"]}),
    ("/v1/score", {"query": "q", "items": list("abcdefgh"), "label_token_ids": [1, 2]}),
    ("/v1/completions", {"prompt": list("abcdefgh")}),
    ("/v1/systemone", {"state": "s", "questions": {name: {"type": "noul"} for name in "abcdefgh"}}),
    (
        "/v1/decisions",
        {"input": "s", "questions": [{"type": "predicate", "instructions": name} for name in "abcdefgh"]},
    ),
]


@pytest.mark.parametrize(("path", "body"), MANY, ids=[path for path, _ in MANY])
def test_where_one_part_fails_the_others_end_with_it(serve, path, body):
    client = serve(stall=True)
    engine, plain = client.engine, client.engine.send

    def send(message):
        plain(message)
        if isinstance(message, Submit) and len(client.submits) == 5:
            finish = Finish(type="error", message="full", status=429, code="queue_full")
            output = Output(rid=message.rid, token_ids=[], finish=finish)
            asyncio.get_running_loop().call_soon(engine.front.receive, Outputs(items=[output]))

    engine.send = send
    answer = client.post(path, body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "queue_full")
    assert engine.front.num_open == 0
    assert set(engine.aborted) == {submit.rid for submit in client.submits} - {client.submits[4].rid}
    assert len({submit.call for submit in client.submits}) == 1, "to the queue's bound it is one request"


def test_few_parts_of_a_request_are_under_way_at_a_time(serve):
    client = serve()
    most = 0
    plain = client.engine.send

    def send(message):
        nonlocal most
        plain(message)
        most = max(most, client.engine.front.num_open)

    client.engine.send = send
    told = client.post("/v1/rerank", {"query": "q", "documents": [str(i) for i in range(100)]}).json()
    assert len(told["results"]) == 100
    assert most == WIDTH
