"""Ollama's API: lines, counts, options, errors in its own shape."""

import json

import pytest

HI = [{"role": "user", "content": "hi"}]


def lines(answer):
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def test_chat_streams_lines_by_default(serve):
    told = lines(serve(reply="hé".encode()).post("/api/chat", {"model": "tiny:latest", "messages": HI}))
    assert "".join(t["message"]["content"] for t in told) == "hé"
    assert [t["done"] for t in told] == [False] * (len(told) - 1) + [True]
    last = told[-1]
    assert (last["done_reason"], last["eval_count"], last["model"]) == ("length", 3, "tiny:latest")
    assert last["prompt_eval_count"] > 0
    assert last["total_duration"] >= last["eval_duration"] >= 0


def test_generate_whole_and_its_context_continues(serve, byte_tokenizer):
    client = serve(reply=b"ok")
    told = client.post("/api/generate", {"prompt": "hi", "stream": False, "system": "S"}).json()
    assert (told["response"], told["done"], told["done_reason"]) == ("ok", True, "length")
    assert byte_tokenizer.decode(told["context"]) == "<system>S</system><user>hi</user><assistant>ok"
    client.post("/api/generate", {"prompt": "more", "stream": False, "context": told["context"]})
    text = byte_tokenizer.decode(client.submits[-1].token_ids)
    assert text == "<system>S</system><user>hi</user><assistant>ok<user>more</user><assistant>"


def test_raw_prompts_are_taken_as_they_are(serve, byte_tokenizer):
    client = serve()
    client.post("/api/generate", {"prompt": "hi", "raw": True})
    assert byte_tokenizer.decode(client.submits[0].token_ids) == "hi"


def test_options_reach_the_engine_and_unknown_ones_are_named(serve):
    client = serve()
    options = {"num_predict": 5, "temperature": 0, "seed": 3, "stop": ["x"], "repeat_penalty": 1.1, "num_ctx": 99}
    answer = client.post("/api/chat", {"messages": HI, "options": options})
    sampling = client.submits[0].sampling
    assert (sampling.max_new_tokens, sampling.temperature, sampling.sampling_seed) == (5, 0, 3)
    assert (sampling.stop, sampling.repetition_penalty) == (("x",), 1.1)
    assert answer.headers["x-radixlang-ignored"] == "options.num_ctx"


@pytest.mark.parametrize("form", ["json", {"type": "object"}, {"regex": "a+"}])
def test_formats_are_constraints(serve, form):
    client = serve()
    client.post("/api/chat", {"messages": HI, "format": form})
    assert client.submits[0].constraint is not None


def test_tool_calls_have_objects_as_arguments(serve, stop_with):
    reply = b'<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>'
    tools = [{"type": "function", "function": {"name": "f"}}]
    for stream in (True, False):
        client = serve(reply=reply, finish=stop_with())
        answer = client.post("/api/chat", {"messages": HI, "tools": tools, "stream": stream})
        told = lines(answer) if stream else [answer.json()]
        calls = [c for t in told for c in t["message"].get("tool_calls", [])]
        assert calls == [{"function": {"name": "f", "arguments": {"a": 1}}}]
        assert not any(t["message"]["content"] for t in told)


def test_an_empty_prompt_loads(serve):
    client = serve()
    for path, body in (("/api/chat", {"messages": []}), ("/api/generate", {"model": "tiny"})):
        assert client.post(path, body).json()["done_reason"] == "load"
    assert not client.submits


def test_errors_have_ollamas_shape(serve):
    client = serve()
    for path, body, status in (
        ("/api/chat", {"model": "nope", "messages": HI}, 404),
        ("/api/chat", {"messages": HI, "options": {"temperature": -1}}, 400),
        ("/api/chat", {"messages": [{"role": "user", "content": "a", "images": ["x"]}]}, 400),
        ("/api/generate", {"prompt": "a", "suffix": "b"}, 400),
        ("/api/nothing", {}, 404),
        ("/api/show", {"model": "nope"}, 404),
    ):
        answer = client.post(path, body)
        assert answer.status_code == status
        assert list(answer.json()) == ["error"]
        assert isinstance(answer.json()["error"], str)


def test_bodies_are_read_whatever_their_content_type(serve):
    content = json.dumps({"messages": HI, "stream": False}).encode()
    answer = serve(reply=b"x").request("POST", "/api/chat", content=content, headers={"content-type": "text/plain"})
    assert answer.json()["message"]["content"] == "x"


def test_models_are_told(serve):
    client = serve()
    assert client.get("/api/tags").json()["models"][0]["name"] == "tiny"
    assert client.get("/api/ps").json()["models"][0]["model"] == "tiny"
    assert "completion" in client.post("/api/show", {"model": "tiny"}).json()["capabilities"]
    assert client.get("/api/version").json()["version"]
    assert client.get("/").text == "radixlang is running"


def test_vectors(serve):
    client = serve(hidden=[3.0, 4.0])
    assert len(client.post("/api/embed", {"input": ["a", "b"]}).json()["embeddings"]) == 2
    assert client.post("/api/embeddings", {"prompt": "a"}).json()["embedding"] == [
        pytest.approx(0.6),
        pytest.approx(0.8),
    ]


def test_a_prompt_that_is_too_long_is_refused_or_cut_and_said_to_be(serve, byte_tokenizer):
    client = serve(reply=b"ok")
    long = {"prompt": "x" * 600, "raw": True, "stream": False}
    assert client.post("/api/generate", long).status_code == 400
    told = client.post("/api/generate", {**long, "truncate": True}).json()
    assert told["prompt_truncated"] == 600 - 256
    assert len(client.submits[-1].token_ids) == 256
    turns = [{"role": "system", "content": "S"}, *({"role": "user", "content": f"{i}" * 100} for i in range(6))]
    assert client.post("/api/chat", {"messages": turns}).status_code == 400
    cut = lines(client.post("/api/chat", {"messages": turns, "truncate": True}))[-1]
    text = byte_tokenizer.decode(client.submits[-1].token_ids)
    assert text.startswith("<system>S</system><user>")
    assert [i for i in range(6) if f"{i}" * 100 in text] == list(range(cut["prompt_truncated"], 6))
    assert "prompt_truncated" not in lines(client.post("/api/chat", {"messages": turns[-2:], "truncate": True}))[-1]


def test_thoughts_are_told_apart(serve):
    template = "{% for m in messages %}{{ m.content }}{% endfor %}{{ enable_thinking }}</think>A:"
    client = serve(reply=b"<think>\nwell\n</think>\n\nIt is.", info={"chat_template": template})
    whole = client.post("/api/chat", {"messages": HI, "stream": False}).json()["message"]
    assert (whole["thinking"], whole["content"]) == ("well", "It is.")
    told = lines(client.post("/api/generate", {"prompt": "hi"}))
    assert "".join(t.get("thinking", "") for t in told) == "well"
    assert "".join(t["response"] for t in told) == "It is."
    plain = client.post("/api/chat", {"messages": HI, "stream": False, "think": False}).json()["message"]
    assert plain["content"].startswith("<think>")
    rendered = client.post("/api/chat", {"messages": HI, "think": False, "_debug_render_only": True}).json()
    assert rendered["_debug_info"]["rendered_template"] == "hiFalse</think>A:"
