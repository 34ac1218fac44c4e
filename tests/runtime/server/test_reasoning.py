"""Thoughts apart from text: whole and streamed, by the template or by name."""

import pytest

from radixlang.errors import ConfigError
from radixlang.runtime.config import ServerConfig

PATH = "/v1/chat/completions"
HI = [{"role": "user", "content": "hi"}]
TEMPLATE = "{% for m in messages %}{{ m.content.split('</think>')[-1] }}{% endfor %}A:"
OPEN = TEMPLATE + "<think>\n"


def streamed(client, **fields):
    events = client.events(
        PATH, {"messages": HI, "max_tokens": 60, "stream_options": {"include_usage": True}, **fields}
    )
    deltas = [c["delta"] for e in events for c in e["choices"]]
    thought = "".join(d.get("reasoning_content", "") for d in deltas)
    return thought, "".join(d.get("content") or "" for d in deltas), events


@pytest.mark.parametrize(
    ("template", "reply", "thought", "said"),
    [
        (TEMPLATE, b"<think>\nwell <b>\n</think>\n\nIt is.", "well <b>", "It is."),
        (OPEN, b"well\n</think>\n\nIt is.", "well", "It is."),
        (TEMPLATE, b" It is </think> so.", "", " It is </think> so."),
        (OPEN, b"never ends", "never ends", ""),
        (TEMPLATE, b"<think></think>\nYes", "", "Yes"),
    ],
)
def test_thoughts_are_told_apart_whole_and_streamed(serve, template, reply, thought, said):
    client = serve(reply=reply, info={"chat_template": template})
    answer = client.post(PATH, {"messages": HI, "max_tokens": 60}).json()
    message = answer["choices"][0]["message"]
    assert (message.get("reasoning_content", ""), message["content"].lstrip("\n")) == (thought, said)
    assert answer["usage"]["completion_tokens_details"]["reasoning_tokens"] == len(thought)
    as_stream = streamed(client)
    assert (as_stream[0], as_stream[1].lstrip("\n")) == (thought, said)
    assert as_stream[2][-1]["usage"]["completion_tokens_details"]["reasoning_tokens"] == len(thought)


def test_the_request_and_the_server_say_whether_and_how(serve):
    reply = b"<think>a b</think>c"
    plain = serve(reply=reply, info={"chat_template": TEMPLATE})
    answer = plain.post(PATH, {"messages": HI, "max_tokens": 60, "separate_reasoning": False}).json()
    assert answer["choices"][0]["message"]["content"] == reply.decode()
    events = streamed(plain, stream_reasoning=False)[2]
    assert [
        c["delta"]["reasoning_content"] for e in events for c in e["choices"] if "reasoning_content" in c["delta"]
    ] == ["a b"]
    off = serve(reply=reply, info={"chat_template": TEMPLATE}, server={"reasoning_parser": "none"})
    assert (
        off.post(PATH, {"messages": HI, "max_tokens": 60}).json()["choices"][0]["message"]["content"] == reply.decode()
    )
    named = serve(reply=b"a</think>b", server={"reasoning_parser": "deepseek-r1"})
    message = named.post(PATH, {"messages": HI, "max_tokens": 60}).json()["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("a", "b")
    with pytest.raises(ConfigError, match="qwen3"):
        ServerConfig(reasoning_parser="nonsense")


def test_a_constrained_answer_has_no_thoughts(serve):
    client = serve(reply=b"<think>", info={"chat_template": OPEN})
    message = client.post(PATH, {"messages": HI, "regex": "<think>"}).json()["choices"][0]["message"]
    assert message["content"] == "<think>"
    assert "reasoning_content" not in message


def test_separate_reasoning(serve):
    client = serve()
    told = client.post("/separate_reasoning", {"text": "<think> a </think> b", "reasoning_parser": "qwen3"}).json()
    assert told == {"reasoning_text": "a", "text": "b"}
    assert client.post("/separate_reasoning", {"text": "", "reasoning_parser": "x"}).status_code == 400


def test_an_answer_names_what_was_ignored_and_what_it_waited(serve):
    client = serve(reply=b"ok")
    for path, body in ((PATH, {"messages": HI}), ("/v1/completions", {"prompt": "a"})):
        answer = client.post(path, {**body, "foo": 1, "request_id": "mine", "max_tokens": 4})
        assert answer.json()["warnings"] == ["foo is not known here and was ignored"]
        assert float(answer.headers["x-radixlang-queue-ms"]) >= 0
        assert answer.headers["x-radixlang-cached-tokens"] == "0"
        assert client.submits[-1].rid == "mine"
        assert "warnings" not in client.post(path, body).json()
