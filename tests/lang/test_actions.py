"""Graphs that run Python, and programs that call programs: as interpreted here, and refused where no code goes."""

from __future__ import annotations

import json

import pytest

import radixlang as sgl


@sgl.tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"20 C in {city}"


@sgl.tool
def broken() -> str:
    """It always fails."""
    raise LookupError("no such thing")


def call(name, **arguments):
    return "<tool_call>" + json.dumps({"name": name, "arguments": arguments}) + "</tool_call>"


@sgl.function
def agent(s, q):
    s += sgl.user(q)
    s += sgl.assistant(sgl.gen("step", tools=[weather, broken], max_tokens=500))
    s.run_tools("step")
    s += sgl.assistant(sgl.gen("said", max_tokens=50))


def answer(prompt):
    return "It is warm." if "</tool_call>" in prompt else call("weather", city="Rome") + call("broken")


def test_a_graph_runs_tools_as_the_program_does(native):
    native(answer)
    compiled = agent.compile(mode="graph")
    graph, plain = compiled.run(q="Rome?"), agent.run(q="Rome?")
    assert graph.text() == plain.text()
    assert graph.messages() == plain.messages()
    assert [m["content"] for m in graph.messages() if m["role"] == "tool"] == [
        "20 C in Rome",
        "error: LookupError: no such thing",
    ]
    assert graph["said"] == "It is warm."
    assert [one.name for one in graph.tool_calls("step")] == ["weather", "broken"]


def test_tools_are_seen_and_told_in_a_graph(hosted):
    backend = hosted(answer)
    compiled = agent.compile(mode="graph")
    assert "tool(" in compiled.graph.render()
    for form in ("mermaid", "dot", "svg", "html"):
        assert "the tools weather, broken" in compiled.graph.render(form)
    again = sgl.ProgramGraph.from_json(compiled.graph.to_json())
    assert again.to_json() == compiled.graph.to_json()
    with pytest.raises(sgl.TraceError, match=r"\(tool\) runs the tools weather, broken.*test_actions\.py:\d+"):
        compiled.run(q="x", remote=True)
    assert backend.requests == []


def test_the_calls_of_a_remote_gen_are_read_here(hosted):
    hosted(lambda prompt: call("weather", city="Oslo"))

    @sgl.function
    def p(s):
        s += sgl.gen("step", tools=[weather], max_tokens=500)

    state = p.compile(mode="graph").run(remote=True)
    assert [one.run() for one in state.tool_calls("step")] == ["20 C in Oslo"]


def test_a_call_that_is_cut_fails_what_follows(native):
    native(lambda prompt: "<tool_call>{")
    state = agent.compile(mode="graph").run(q="x")
    with pytest.raises(sgl.ProgramError, match="cut by max_tokens"):
        state["said"]


def test_tools_that_a_trace_must_look_at_end_it(native):
    @sgl.function
    def looks(s):
        s += sgl.gen("step", tools=[weather])
        if s.tool_calls("step"):
            s += "!"

    @sgl.function
    def has_none(s):
        s += sgl.gen("step")
        s.run_tools("step")

    for program in (looks, has_none):
        with pytest.raises(sgl.TraceError, match=r"test_actions\.py"):
            program.compile(mode="graph")
        assert program.compile().graph is None


def test_tools_run_though_nothing_reads_them(native):
    native(answer)
    ran = []

    def note(what: str) -> str:
        """Notes it."""
        ran.append(what)
        return "noted"

    @sgl.function
    def p(s):
        branch = s.fork(1)[0]
        branch += sgl.gen("step", tools=[note], max_tokens=500)
        branch.run_tools("step")
        s += "x" + sgl.gen("a", max_tokens=1)

    native(lambda prompt: call("note", what="seen") if not prompt else "y")
    state = p.compile(mode="graph", outputs=["a"]).run()
    for stream in state.stream_executor.run.streams():
        stream.sync()
    assert "seen" in ran


def test_checks_and_repairs_are_those_of_the_program(native):
    def p_of(rule):
        @sgl.function
        def p(s):
            s += "n: " + sgl.gen("n", check=rule, repair=2, max_tokens=3) + "."

        return p

    def run(way):
        tries = iter(["one", "two", "3"])
        native(lambda prompt: next(tries))
        return way(p_of(str.isdigit)).text()

    assert run(lambda p: p.compile(mode="graph").run()) == run(lambda p: p.run()) == "n: 3."


@pytest.mark.parametrize("remote", [False, True])
def test_the_best_of_several_is_data_and_a_rule_of_ones_own_is_not(hosted, remote):
    answers = {}

    def reply(prompt):
        answers[prompt] = answers.get(prompt, 0) + 1
        return "abc"[answers[prompt] % 3]

    hosted(reply)

    @sgl.function
    def p(s):
        s += "x" + sgl.gen("a", n=2, max_tokens=1)

    assert p.compile(mode="graph").run(remote=remote)["a"] == ["b", "c"]

    @sgl.function
    def best(s):
        s += "y" + sgl.gen("a", best_of=3, best_by=ord, max_tokens=1)

    compiled = best.compile(mode="graph")
    if remote:
        with pytest.raises(sgl.TraceError, match=r"best_by=ord.*test_actions\.py"):
            compiled.run(remote=True)
    else:
        assert compiled.run()["a"] == "c"


@sgl.function
def inner(s, topic):
    s += "About " + topic + ": " + sgl.gen("said", max_tokens=4)


@sgl.function
def outer(s, q):
    s += q + sgl.gen("t", max_tokens=2)
    found = sgl.call("inner", topic=s["t"])
    s += " and " + found["said"].upper() + sgl.gen("end", max_tokens=1)


@pytest.mark.parametrize("remote", [False, True])
def test_a_graph_calls_what_the_backend_keeps(hosted, remote):
    hosted()
    inner.compile().register("inner")
    compiled = outer.compile(mode="graph")
    assert [node.kind for node in compiled.graph.nodes].count("call") == 1
    state = compiled.run(q="hi", remote=remote)
    topic = state["t"]
    assert state.text() == f"hi{topic} and {inner.run(topic=topic)['said'].upper()}{state['end']}"
    assert state.usage.requests == 3


@pytest.mark.parametrize("remote", [False, True])
def test_what_a_run_calls_is_served_as_part_of_it(hosted, remote):
    backend = hosted()
    inner.compile().register("inner")
    outer.compile(mode="graph").run(q="hi", remote=remote).text()
    calls = [request for request in backend.requests if "program" not in request]
    assert len(calls) == 3
    assert len({request["program_id"] for request in calls}) == 1


@pytest.mark.parametrize("remote", [False, True])
def test_a_call_that_cannot_be_is_told_where_it_is_read(hosted, remote):
    hosted()
    with pytest.raises(sgl.ProgramError, match="no program 'inner'"):
        outer.compile(mode="graph").run(q="hi", remote=remote)["end"]

    @sgl.function
    def wrong(s):
        s += sgl.call("inner", topic="tea")["other"]

    inner.compile().register("inner")
    with pytest.raises(sgl.ProgramError, match="other"):
        wrong.compile(mode="graph").run(remote=remote).text()


def test_programs_that_call_themselves_end(hosted):
    hosted()

    @sgl.function
    def again(s):
        s += sgl.call("again")["x"] + sgl.call("again")["x"] + sgl.gen("x", max_tokens=1)

    compiled = again.compile(mode="graph")
    compiled.register("again")
    with pytest.raises(sgl.ProgramError, match="at most"):
        compiled.run(remote=True)["x"]
