"""Answers in messages of channels, without tools: their thoughts apart from their text, however they are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radixlang.runtime.server.channels import ChannelSplitter
from radixlang.runtime.server.tools.forms import GPT_OSS

PATH = "/v1/chat/completions"
THOUGHT = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"
SAID = "<|channel|>commentary<|message|>So. <|end|><|start|>assistant"
FINAL = "<|channel|>final<|message|>Yes <|end> it is."


def split(pieces, *, is_open=False):
    splitter = ChannelSplitter(GPT_OSS.channels, is_open=is_open)
    told = [*map(splitter.push, pieces), splitter.flush()]
    return tuple(map("".join, zip(*told, strict=True)))


@pytest.mark.parametrize(
    ("text", "is_open", "told"),
    [
        (THOUGHT + FINAL, False, ("Hm.", "Yes <|end> it is.")),
        (THOUGHT + SAID + THOUGHT + FINAL, False, ("Hm.Hm.", "So. Yes <|end> it is.")),
        (FINAL, False, ("", "Yes <|end> it is.")),
        (FINAL + THOUGHT, False, ("", "Yes <|end> it is." + THOUGHT)),
        ("Hm.<|end|><|start|>assistant" + FINAL, True, ("Hm.", "Yes <|end> it is.")),
        ("plain", False, ("", "plain")),
        (THOUGHT.partition("d|>")[0], False, ("Hm.<|en", "")),
    ],
)
@given(data=st.data())
def test_thoughts_are_told_apart_however_the_text_is_cut(text, is_open, told, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert split(pieces, is_open=is_open) == told


def test_an_answer_without_tools_has_its_thought_apart(serve, stop_with):
    client = serve(reply=(THOUGHT + FINAL).encode(), finish=stop_with(), server={"reasoning_parser": "gpt-oss"})
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 400}
    message = client.post(PATH, body).json()["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("Hm.", "Yes <|end> it is.")
    told = [c["delta"] for e in client.events(PATH, body) for c in e["choices"]]
    assert "".join(d.get("reasoning_content", "") for d in told) == "Hm."
    assert "".join(d.get("content", "") for d in told) == "Yes <|end> it is."


@pytest.mark.parametrize(("special", "is_shown"), [("<|end|>", True), ("<other>", False)])
def test_special_tokens_that_enclose_thoughts_are_shown(serve, byte_tokenizer, monkeypatch, special, is_shown):
    encode = byte_tokenizer.encode
    (special_id,) = sorted(byte_tokenizer.special_token_ids)[:1]
    monkeypatch.setattr(
        byte_tokenizer, "encode", lambda text, **more: [special_id] if text == special else encode(text, **more)
    )
    client = serve(reply=b"x", server={"reasoning_parser": "gpt-oss"})
    client.post(PATH, {"messages": [{"role": "user", "content": "hi"}]})
    assert client.submits[-1].sampling.skip_special_tokens != is_shown
