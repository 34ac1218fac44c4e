from __future__ import annotations

import pytest

import radixlang as sgl
from radixlang.errors import ConfigError


@pytest.fixture
def backend(server):
    found = sgl.Anthropic("some-model", api_key="key", base_url=server.url)
    yield found
    found.shutdown()


@sgl.function
def twice(s):
    s += sgl.system("Brief.") + sgl.user("Hi") + sgl.assistant(sgl.gen("a", max_tokens=4))
    s += sgl.user("More") + sgl.assistant("So:" + sgl.gen("b", max_tokens=4))


def test_the_system_message_stays_for_every_call(server, backend):
    usage = {"input_tokens": 3, "output_tokens": 2, "cache_read_input_tokens": 1}
    server.answers["/v1/messages"] = lambda body: {
        "id": "m1",
        "content": [{"type": "text", "text": " yo"}],
        "stop_reason": "end_turn",
        "usage": usage,
    }
    state = twice.run(backend=backend)
    assert (state["a"], state["b"]) == (" yo", " yo")
    first, second = server.bodies("/v1/messages")
    assert first["system"] == second["system"] == "Brief."
    assert first["messages"] == [{"role": "user", "content": "Hi"}]
    assert [m["role"] for m in second["messages"]] == ["user", "assistant", "user", "assistant"]
    assert second["messages"][-1]["content"] == "So:"
    assert state.get_meta_info("a")["finish_reason"] == {"type": "stop"}
    assert state.usage.prompt_tokens == 8


def test_streams(server, backend):
    server.answers["/v1/messages"] = lambda body: [
        {"type": "message_start", "message": {"usage": {"input_tokens": 3}}},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "y"}},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "o"}},
        {"type": "message_delta", "delta": {"stop_reason": "max_tokens"}, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
    ]

    @sgl.function
    def p(s):
        s += sgl.user("Hi") + sgl.assistant(sgl.gen("a"))

    state = p.run(backend=backend, stream=True)
    assert list(state.text_iter("a")) == ["y", "o"]
    assert state.get_meta_info("a")["finish_reason"] == {"type": "length"}


def test_what_the_api_lacks_is_refused(backend):
    @sgl.function
    def p(s):
        s += sgl.user("Hi") + sgl.assistant(sgl.gen("a", regex="x"))

    with pytest.raises(sgl.ProgramError, match="regex is not supported"):
        p.run(backend=backend)["a"]


def test_a_missing_key_is_told(monkeypatch):
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="ANTHROPIC_API_KEY"):
        sgl.Anthropic("m")
