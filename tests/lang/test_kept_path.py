from __future__ import annotations

import pytest

import radixlang as sgl
from radixlang.errors import RequestError


class Keeper:
    """Turns a CharModel into one that keeps paths: ids by name."""

    def __init__(self, backend):
        self.backend = backend
        self.paths: dict[str, list[int]] = {}
        self.released: list[str] = []
        backend.keeps_paths = True
        inner = backend.native_generate

        async def generate(request):
            ids = [ord(c) for c in backend.text_of(request["prompt_parts"])]
            if "parent" in request:
                if request["parent"] not in self.paths:
                    raise RequestError("no such path", code="unknown_stream")
                ids = self.paths[request["parent"]][: request["parent_len"]] + ids
            whole = {**request, "prompt_parts": [list(ids)]}
            out: list[int] = []
            async for chunk in inner(whole):
                out += chunk["output_ids"]
                yield chunk
            if "keep" in request:
                self.paths[request["keep"]] = ids + out

        async def release(names):
            self.released += names
            for name in names:
                self.paths.pop(name, None)

        self.sent: list[dict] = []

        async def spy(request):
            self.sent.append(request)
            async for chunk in generate(request):
                yield chunk

        backend.native_generate = spy
        backend.native_release = release


@sgl.function
def talk(s, turns=3):
    s += "start:"
    for i in range(turns):
        s += sgl.gen(f"a{i}", max_tokens=3, stop="|" if i == 1 else None) + f"<{i}>"


@pytest.fixture
def keeper(native):
    return Keeper(native(lambda prompt: f"{len(prompt)}|z"))


def test_only_what_is_new_travels_and_the_text_is_the_same(native, keeper):
    state = talk.run()
    text = state.text()
    assert [r["prompt_parts"] for r in keeper.sent[:2]] == [["start:"], [[], "<0>"]]
    assert keeper.sent[1]["parent"] == keeper.sent[0]["keep"]
    native(lambda prompt: f"{len(prompt)}|z")
    assert talk.run().text() == text


def test_branches_begin_at_their_parents_path(keeper):
    @sgl.function
    def p(s):
        s += "q" + sgl.gen("a", max_tokens=2)
        g = s.fork(2)
        g += lambda i: f"{i}" + sgl.gen("v", max_tokens=2)
        g.join()

    state = p.run()
    assert list(state["v"]) == ["4|", "4|"]
    kept = keeper.sent[0]["keep"]
    assert [r["parent"] for r in keeper.sent[1:]] == [kept, kept]


def test_a_forgotten_path_is_sent_whole(keeper):
    @sgl.function
    def p(s):
        s += "q" + sgl.gen("a", max_tokens=2)
        s["a"]
        keeper.paths.clear()
        s += "." + sgl.gen("b", max_tokens=2)

    assert p.run().text() == "q1|.4|"
    assert "parent" not in keeper.sent[-1]


def test_paths_are_released_when_the_program_has_ended(keeper, until):
    state = talk.run()
    state.sync()
    until(lambda: len(keeper.released) == 3)
    assert keeper.paths == {}
