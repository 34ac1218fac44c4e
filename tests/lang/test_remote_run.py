"""Programs as one request: what a run gives is what the program gives, wherever the graph is walked."""

from __future__ import annotations

import pytest

import radixlang as sgl
from radixlang.errors import ConfigError


@sgl.function
def talk(s, q):
    s += sgl.system("Be brief.") + sgl.user(q) + sgl.assistant(sgl.gen("a", max_tokens=4))
    g = s.fork(2)
    g += lambda i: f"{i}" + sgl.gen("b", max_tokens=2) + sgl.select("c", ["x", "y"])
    g.join()
    s += sgl.switch(s["a"][0], {"[": "!" + sgl.gen("d", dtype=int), "<": sgl.gen("e")}, default="?")
    s["f"] = {"a": s["a"], "all": [b["b"] for b in g]}


def test_remote_is_as_local(hosted):
    hosted(lambda prompt: "12" if prompt.endswith("!") else f"[{len(prompt)}]")
    c = talk.compile(mode="graph")
    local, interpreted, remote = c.run(q="hi"), talk.run(q="hi"), c.run(q="hi", remote=True)
    assert remote.text() == local.text() == interpreted.text()
    assert remote.messages() == local.messages() == interpreted.messages()
    for name in "abcdf":
        assert remote[name] == local[name] == interpreted[name]
    assert remote.value("d") == interpreted.value("d")
    assert isinstance(remote.value("d"), int)
    assert remote.get_meta_info("a")["completion_tokens"] == 4
    assert "e" not in remote and "e" not in local  # noqa: PT018
    assert remote.usage.round_trips == 1
    assert remote.usage.completion_tokens == local.usage.completion_tokens


def test_by_name(hosted):
    hosted()
    talk.compile().register("talk")
    assert sgl.call("talk", q="hi", temperature=0)["f"] == talk.run(q="hi")["f"]
    with pytest.raises(sgl.ProgramError, match="no program 'other'"):
        sgl.call("other", q="hi")["f"]
    with pytest.raises(sgl.ProgramError, match="takes the arguments"):
        sgl.call("talk", p="hi").text()


def test_streams_pieces(hosted):
    hosted(lambda prompt: "abcdef")
    state = talk.compile().run(q="hi", remote=True, stream=True)
    assert list(state.text_iter("a")) == ["a", "b", "c", "d"]
    assert state["a"] == "abcd"


def test_failures_reach_the_reader(hosted):
    backend = hosted()

    async def fail(request):
        raise sgl.RadixlangError("out of order")
        yield

    backend.native_generate = fail
    state = talk.compile().run(q="hi", remote=True)
    for read in (state.text, lambda: state["a"], lambda: state["unknown"], state.messages):
        with pytest.raises(sgl.ProgramError, match="out of order"):
            read()


def test_a_deadline_and_a_cancel_end_the_run_there(hosted, until):
    backend = hosted()
    backend.hold_back()
    with pytest.raises(sgl.ProgramTimeout):
        talk.compile().run(q="hi", remote=True, timeout=0.05).text()

    def asked():
        return [request["rid"] for request in backend.requests if "rid" in request]

    until(lambda: len(backend.closed) == len(asked()))
    before = len(asked())
    state = talk.compile().run(q="hi", remote=True)
    until(lambda: len(asked()) == before + 1)
    state.cancel()
    with pytest.raises(sgl.Cancelled):
        state["a"]
    until(lambda: asked()[-1] in backend.closed)


def test_only_hosts_run_programs(scripted):
    scripted()
    with pytest.raises(ConfigError, match="runs no programs"):
        talk.compile().run(q="hi", remote=True)


def test_a_budget_holds_there(hosted):
    hosted(lambda prompt: "abc")

    @sgl.function
    def p(s):
        s += sgl.gen("a", max_tokens=2) + "-" + sgl.gen("b", max_tokens=2)

    compiled = p.compile(mode="graph")
    with pytest.raises(sgl.BudgetExceeded, match="requests"):
        compiled.run(remote=True, budget=sgl.Budget(requests=1))["b"]
    assert compiled.run(remote=True, budget=sgl.Budget(requests=2))["b"] == "ab"
    hosted().hold_back()
    with pytest.raises(sgl.ProgramTimeout):
        compiled.run(remote=True, timeout=0.05)["b"]


def test_events_come_back(hosted):
    hosted(lambda prompt: "abc")

    @sgl.function
    def p(s):
        s += sgl.gen("a", max_tokens=2) + "-" + sgl.gen("b", max_tokens=2)

    seen = []
    state = p.compile(mode="graph").run(remote=True, on_event=seen.append)
    assert state["b"] == "ab"
    assert [e["name"] for e in seen if e["event"] == "value"] == ["a", "b"]
    assert [e["event"] for e in state.events()] == ["gen", "value", "gen", "value"]
    assert "abc" not in state.to_html()
    assert "<mark" in state.to_html()


def test_a_server_that_is_lost_on_the_way_is_told(hosted):
    backend = hosted(lambda prompt: "abc")
    whole = backend.native_run_program

    async def lost(request):
        async for event in whole(request):
            yield event
            raise sgl.RadixlangError("cannot reach http://gone: the connection was closed")

    backend.native_run_program = lost

    @sgl.function
    def p(s):
        s += sgl.gen("a", max_tokens=2)

    state = p.compile(mode="graph").run(remote=True, timeout=20)
    for read in (state.text, lambda: state["a"]):
        with pytest.raises(sgl.ProgramError, match="gone"):
            read()


def test_a_run_there_is_one_program_and_the_next_another(hosted):
    backend = hosted()
    compiled = talk.compile(mode="graph")
    found = []
    for _ in range(2):
        backend.requests.clear()
        compiled.run(q="hi", remote=True).text()
        calls = [request for request in backend.requests if "program" not in request]
        assert len(calls) > 4
        found.append({request["program_id"] for request in calls})
    assert [len(ids) for ids in found] == [1, 1]
    assert found[0] != found[1]
