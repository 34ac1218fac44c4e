from __future__ import annotations

import pytest

import radixlang as sgl
from radixlang.errors import ConfigError

USAGE = {"prompt_tokens": 5, "completion_tokens": 2}


@pytest.fixture
def make(server, monkeypatch):
    monkeypatch.setattr("radixlang.lang.backend.http_backend.RETRY_PAUSE_S", 0.0)
    made = []

    def build(**options):
        made.append(sgl.OpenAI("some-model", api_key="key", base_url=server.url + "/v1", **options))
        return made[-1]

    yield build
    for backend in made:
        backend.shutdown()


@sgl.function
def chat(s):
    s += sgl.system("Brief.") + sgl.user("Hi") + sgl.assistant(sgl.gen("a", max_tokens=4, stop="END"))


def test_chat_models_get_messages(server, make):
    server.answers["/v1/chat/completions"] = lambda body: {
        "choices": [{"message": {"content": "yo"}, "finish_reason": "stop"}],
        "usage": USAGE,
    }
    backend = make()
    state = chat.run(backend=backend, temperature=0)
    assert state["a"] == "yo"
    (body,) = server.bodies("/v1/chat/completions")
    assert body["messages"] == [{"role": "system", "content": "Brief."}, {"role": "user", "content": "Hi"}]
    assert (body["max_tokens"], body["stop"], body["temperature"]) == (4, ["END"], 0) or body["stop"] == "END"
    assert backend.token_usage.prompt_tokens == 5
    assert state.usage.completion_tokens == 2


def test_a_gen_elsewhere_than_after_assistant_is_refused(make):
    @sgl.function
    def p(s):
        s += sgl.user("Hi") + sgl.assistant("Sure: " + sgl.gen("a"))

    with pytest.raises(sgl.ProgramError, match="right after assistant_begin"):
        p.run(backend=make())["a"]


def test_streams(server, make):
    server.answers["/v1/chat/completions"] = lambda body: [
        {"choices": [{"index": 0, "delta": {"content": "y"}}]},
        {"choices": [{"index": 0, "delta": {"content": "o"}, "finish_reason": "stop"}]},
        {"choices": [], "usage": USAGE},
    ]
    state = chat.run(backend=make(), stream=True)
    assert list(state.text_iter("a")) == ["y", "o"]
    assert state.get_meta_info("a")["completion_tokens"] == 2


def test_completion_models_get_the_text_and_select_by_log_probabilities(server, make):
    def complete(body):
        if not body.get("echo"):
            return {"choices": [{"text": " b"}], "usage": USAGE}
        tokens = [body["prompt"][:2], *body["prompt"][2:]]
        logprobs = [None, *(-0.1 if c in " B" else -2.0 for c in body["prompt"][2:])]
        return {"choices": [{"text": "", "logprobs": {"tokens": tokens, "token_logprobs": logprobs}}], "usage": USAGE}

    server.answers["/v1/completions"] = complete

    @sgl.function
    def p(s):
        s += "q:" + sgl.gen("a") + sgl.select("c", [" A", " B"])

    state = p.run(backend=make(is_chat_model=False))
    assert state["c"] == " B"
    assert state.text() == "q: b B"
    assert server.bodies("/v1/completions")[0]["prompt"] == "q:"
    assert state.probs("c")[" B"] > state.probs("c")[" A"]


def test_select_on_a_chat_model_is_refused_clearly(make):
    @sgl.function
    def p(s):
        s += sgl.user("Hi") + sgl.assistant(sgl.select("c", ["a", "b"]))

    with pytest.raises(sgl.ProgramError, match="completion model"):
        p.run(backend=make())["c"]


def test_passing_failures_are_tried_again_and_others_are_not(server, make):
    answers = iter(
        [(500, {"error": {"message": "busy"}}), {"choices": [{"message": {"content": "yo"}}], "usage": USAGE}]
    )
    server.answers["/v1/chat/completions"] = lambda body: next(answers)
    backend = make()
    assert chat.run(backend=backend)["a"] == "yo"
    server.answers["/v1/chat/completions"] = lambda body: (401, {"error": {"message": "bad key"}})
    before = len(server.seen)
    with pytest.raises(sgl.ProgramError, match="bad key"):
        chat.run(backend=backend)["a"]
    assert len(server.seen) == before + 1


def test_n_gives_a_list(server, make):
    server.answers["/v1/chat/completions"] = lambda body: {
        "choices": [{"message": {"content": str(i)}} for i in range(body["n"])],
        "usage": USAGE,
    }

    @sgl.function
    def p(s):
        s += sgl.user("Hi") + sgl.assistant(sgl.gen("a", n=2))

    assert p.run(backend=make())["a"] == ["0", "1"]


def test_a_missing_key_is_told(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        sgl.OpenAI("m")


def test_a_schema_reaches_both_kinds_of_models(server, make):
    server.answers["/v1/completions"] = lambda body: {"choices": [{"text": "{}"}], "usage": USAGE}
    server.answers["/v1/chat/completions"] = lambda body: {"choices": [{"message": {"content": "{}"}}], "usage": USAGE}

    @sgl.function
    def p(s):
        s += sgl.user("Hi") + sgl.assistant(sgl.gen("a", json_schema='{"type": "object"}'))

    for is_chat, path in ((True, "/v1/chat/completions"), (False, "/v1/completions")):
        assert p.run(backend=make(is_chat_model=is_chat))["a"] == "{}"
        assert server.bodies(path)[0]["response_format"]["json_schema"]["schema"] == {"type": "object"}


def test_min_tokens_is_sent_where_it_is_asked_for():
    from radixlang.lang.sampling import SglSamplingParams

    backend = sgl.OpenAI("some-model", is_chat_model=False, api_key="none")
    stream = type("S", (), {"text_": "x", "messages_": []})()
    assert backend._request(stream, SglSamplingParams(min_new_tokens=3))["min_tokens"] == 3
    assert "min_tokens" not in backend._request(stream, SglSamplingParams())
    backend.shutdown()


@pytest.mark.parametrize("constraint", [{"regex": "[0-9]+"}, {"ebnf": 'root ::= "a"'}])
def test_what_openai_cannot_enforce_is_refused_with_advice_and_never_sent(server, make, constraint):
    @sgl.function
    def p(s):
        s += sgl.user("Hi") + sgl.assistant(sgl.gen("a", **constraint))

    with pytest.raises(sgl.ProgramError, match="json_schema, or RuntimeEndpoint"):
        p.run(backend=make())["a"]
    assert not server.bodies("/v1/chat/completions")
