"""Platforms' routes, and what is not served."""

import pytest

HI = [{"role": "user", "content": "hi"}]


def test_invocations_are_told_apart_by_their_fields(serve):
    client = serve(reply=b"ok", hidden=[1.0])
    kinds = {"messages": (HI, "chat.completion"), "prompt": ("a", "text_completion"), "input": ("a", "list")}
    for field, (value, kind) in kinds.items():
        assert client.post("/invocations", {field: value}).json()["object"] == kind
    assert client.events("/invocations", {"messages": HI, "max_tokens": 2})[0]["object"] == "chat.completion.chunk"
    assert client.post("/invocations", {}).status_code == 400


def test_vertex_instances_have_an_answer_each(serve):
    client = serve(reply=b"hello")
    instances = [{"text": "a"}, {"text": "b", "sampling_params": {"max_new_tokens": 2}}]
    body = {"instances": instances, "parameters": {"sampling_params": {"max_new_tokens": 4}}}
    assert [p["text"] for p in client.post("/vertex_generate", body).json()["predictions"]] == ["hell", "he"]
    answer = client.post("/vertex_generate", {"instances": [{"text": "a"}, {"text": "b", "sampling_params": 5}]})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith("instances.1.")
    many = client.post("/vertex_generate", {"instances": [{"text": ["a"] * 1024}] * 100})
    assert (many.status_code, many.json()["error"]["param"]) == (400, "instances.4.n"), "the others are not read"


@pytest.mark.parametrize(
    ("path", "status"), [("/v1/audio/transcriptions", 501), ("/v1/images/generations", 501), ("/infill", 400)]
)
def test_what_is_not_served_says_so(serve, path, status):
    answer = serve().post(path, {})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, "not_implemented")
