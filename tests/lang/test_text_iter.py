from __future__ import annotations

import asyncio
import dataclasses
import threading

import pytest

import radixlang as sgl


@sgl.function
def story(s, k=8):
    s += "Once" + sgl.gen("a", max_tokens=k) + " and" + sgl.gen("b", max_tokens=k)


def test_pieces_add_up(native):
    native(lambda prompt: "abcdefgh")
    state = story.run(stream=True)
    pieces = list(state.text_iter())
    assert "".join(pieces) == state.text() == "Onceabcdefgh andabcdefgh"
    for name in ("a", "b"):
        pieces = list(story.run(stream=True).text_iter(name))
        assert "".join(pieces) == "abcdefgh"
        assert len(pieces) > 1


def test_pieces_come_while_the_generation_runs(scripted):
    go = threading.Event()
    backend = scripted()

    def pieces(s, sampling_params):
        yield "first", {}
        assert go.wait(30)
        yield "second", {}

    backend.generate_stream = pieces
    pieces_of = story.run(stream=True).text_iter("a")
    assert next(pieces_of) == "first"
    go.set()
    assert list(pieces_of) == ["second"]


def test_without_streaming_everything_comes_at_once(native):
    native(lambda prompt: "xy")
    state = story.run(k=2)
    assert list(state.text_iter()) == ["Oncexy andxy"]
    assert list(state.text_iter("a")) == ["xy"]


def test_an_unknown_variable_is_an_error_when_the_body_has_ended(native):
    native()
    with pytest.raises(sgl.UndefinedVariable):
        list(story.run(stream=True).text_iter("nope"))


def test_a_failure_reaches_the_consumer_after_what_came_before(scripted):
    backend = scripted()

    def pieces(s, sampling_params):
        yield "before", {}
        raise OSError("gone")

    backend.generate_stream = pieces
    got = []
    pieces_of = story.run(stream=True).text_iter()

    def read():
        for piece in pieces_of:
            got.append(piece)

    with pytest.raises(sgl.ProgramError, match="gone"):
        read()
    assert "".join(got) == "Oncebefore"


def test_leaving_early_aborts(native, until):
    backend = native(lambda prompt: "x" * 500)
    backend.hold_back(after=3)
    with story.run(k=500, stream=True) as state:
        for _ in state.text_iter("a"):
            break
    assert state.cancelled
    until(lambda: bool(backend.closed))
    assert state.get_meta_info("a")["finish_reason"]["type"] == "abort"


def test_async_pieces_with_meta_information(native):
    native(lambda prompt: "abcd")

    async def read():
        state = story.run(k=4, stream=True)
        return [pair async for pair in state.text_async_iter("a", return_meta_data=True)]

    pairs = asyncio.run(read())
    assert "".join(text for text, _ in pairs) == "abcd"
    assert [meta["completion_tokens"] for _, meta in pairs] == [1, 2, 3, 4]


def test_a_reader_waits_for_what_the_body_has_not_appended_yet(scripted):
    go = threading.Event()
    scripted(lambda text, params: "v")

    @sgl.function
    def p(s):
        assert go.wait(30)
        s += "x" + sgl.gen("a")

    state = p.run(stream=True)
    threading.Timer(0.05, go.set).start()
    assert (state["a"], state.text()) == ("v", "xv")


@dataclasses.dataclass
class Pair:
    a: str
    b: int = 0


def test_partial_values_grow_to_the_value(native):
    native(lambda prompt: '{"a": "xyz", "b": 12}')

    @sgl.function
    def p(s):
        s += sgl.gen("v", dtype=Pair)

    state = p.run(stream=True)
    seen = list(state.stream_value("v"))
    assert all(isinstance(value, Pair) for value in seen)
    assert seen[-1] == state.value("v") == Pair("xyz", 12)
    assert [value.a for value in seen][:3] == ["", "x", "xy"]
