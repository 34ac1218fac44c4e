"""Passes never change what a program gives at temperature 0: random programs, interpreted and compiled."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import radixlang as sgl
from radixlang.lang.group import GatheredList

TEXTS = st.text(alphabet="ab<", max_size=3)
STEPS = st.recursive(
    st.one_of(
        st.tuples(st.just("text"), TEXTS),
        st.tuples(st.just("gen"), st.integers(0, 4)),
        st.tuples(st.just("select"), st.lists(st.text("xy", min_size=1, max_size=2), min_size=1, max_size=3)),
        st.tuples(st.just("scope"), st.integers(1, 3)),
        st.tuples(st.just("use"), st.integers(0, 9)),
        st.tuples(st.just("set"), st.integers(0, 9)),
        st.tuples(st.just("user"), TEXTS),
        st.tuples(st.just("call"), TEXTS),
        st.tuples(st.just("row"), st.lists(st.tuples(TEXTS, st.integers(0, 3)), min_size=1, max_size=3)),
        st.tuples(st.just("switch"), TEXTS),
        st.tuples(st.just("inline"), TEXTS),
        st.tuples(st.just("tools"), TEXTS),
        st.tuples(st.just("several"), st.integers(1, 3)),
    ),
    lambda inner: st.tuples(
        st.sampled_from(["gather", "concat", "vote", "leave"]),
        st.lists(st.lists(inner, max_size=3), min_size=1, max_size=3),
    ),
    max_leaves=10,
)


@sgl.function
def inner(s, q):
    s += "Q" + q + sgl.gen("a", max_tokens=3) + "." + sgl.gen("b", max_tokens=2)


@sgl.tool
def shout(what: str) -> str:
    """Says it louder."""
    return what.upper() + "!"


def grow(s, steps, names, prefix=""):
    """Names repeat in all branches, so that branches may be equal."""
    names = list(names)
    for i, (kind, value) in enumerate(steps):
        name = f"{prefix}{kind}{i}"
        if kind == "text":
            s += value
        elif kind == "gen":
            s += sgl.gen(name, max_tokens=value)
            names.append(name)
        elif kind == "select":
            s += sgl.select(name, value)
            names.append(name)
        elif kind == "scope":
            with s.var_scope(name):
                s += "(" + sgl.gen(name + "in", max_tokens=value) + ")"
            names += [name, name + "in"]
        elif kind == "use" and names:
            s += "/" + s[names[value % len(names)]].upper()[:2] + f"-{s[names[0]]}"
        elif kind == "set" and names:
            s[name] = f"<{s[names[value % len(names)]]}>"
        elif kind == "user":
            s += sgl.user(value + sgl.gen(name, max_tokens=2))
            names.append(name)
        elif kind == "row":
            for j, (text, limit) in enumerate(value):
                s += text + sgl.gen(f"{name}_{j}", regex="[a-z]+", max_tokens=limit, stop="." if limit % 2 else None)
                names.append(f"{name}_{j}")
        elif kind == "call":
            state = inner(q=value)
            s += state["a"] + "," + state["b"].strip()
        elif kind == "inline":
            s += inner.inline(q=value, into=name)
            s += s[name]["b"] + "~"
            names.append(f"{name}.a")
        elif kind == "tools":
            s += value + sgl.gen(name, tools=[shout], max_tokens=99)
            s += sgl.user("CALL" + sgl.gen(f"{name}c", tools=[shout], max_tokens=99))
            s.run_tools(f"{name}c")
            names += [name, f"{name}c"]
        elif kind == "several":
            s += sgl.gen(name, n=value, max_tokens=2) + sgl.gen(f"{name}b", check=bool, repair=1, max_tokens=1)
            names.append(f"{name}b")
        elif kind == "switch":
            s += sgl.select(name + "t", ["x", "y"])
            s += sgl.switch(
                s[name + "t"], {"x": "X" + sgl.gen(name, max_tokens=2), "y": value + sgl.gen(name, max_tokens=1)}
            )
            names.append(name)
        elif isinstance(value, list):
            fork(s, kind, value, name, names)


def fork(s, kind, branches, name, names):
    group = s.fork(len(branches))
    for branch, steps in zip(group, branches, strict=True):
        grow(branch, steps, names, name)
        branch += sgl.gen(name + "v", max_tokens=2)
    if kind == "gather":
        group.join()
    elif kind == "concat":
        group.join("concate_and_append")
    elif kind == "vote":
        s[name] = group.vote(name + "v")


def finish(state):
    for stream in state.stream_executor.run.streams():
        stream.sync()


def told(state, outputs):
    """Values; an error in the place of a value that has one."""
    values = {}
    for name in outputs:
        try:
            value = state[name]
        except sgl.ProgramError as error:
            value = type(error).__name__
        values[name] = plain(value)
    return values


def plain(value):
    if not isinstance(value, list):
        return value
    failed = value.errors if isinstance(value, GatheredList) else {}
    return [type(failed[i]).__name__ if i in failed else plain(value[i]) for i in range(len(value))]


SETTINGS = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def reply(prompt):
    if prompt.endswith("CALL"):
        return json.dumps({"name": "shout", "arguments": {"what": prompt[-9:-4]}})
    return f"{len(prompt) % 7}{prompt[-2:]}."


@SETTINGS
@given(steps=st.lists(STEPS, max_size=6), data=st.data())
def test_interpreted_equals_compiled_equals_remote(hosted, steps, data):
    backend = hosted(reply)

    @sgl.function
    def program(s, q):
        s += q
        grow(s, steps, [])

    interpreted = program.run(q="q", temperature=0)
    finish(interpreted)
    num_requests = len(backend.requests)
    compiled = program.compile(mode="graph")
    outputs = compiled.graph.outputs
    state = compiled.run(q="q", temperature=0)
    finish(state)
    assert state.text() == interpreted.text()
    assert state.messages() == interpreted.messages()
    assert told(state, outputs) == told(interpreted, outputs)
    assert len(backend.requests) - num_requests <= num_requests, "a plan asks no more than its program"

    chosen = data.draw(st.lists(st.sampled_from(outputs), unique=True)) if outputs else []
    part = program.compile(mode="graph", outputs=chosen)
    assert told(part.run(q="q", temperature=0), chosen) == told(interpreted, chosen)
    again = sgl.ProgramGraph.from_json(part.plan(temperature=0).to_json())
    assert again.to_json() == part.plan(temperature=0).to_json()
    for graph, refused in (
        (again, lambda: again.run(backend, {"q": "q"})),
        (compiled.graph, lambda: compiled.run(q="q", remote=True)),
    ):
        if graph.has_code:
            with pytest.raises(sgl.TraceError, match="Python code"):
                refused()
            return
    assert told(again.run(backend, {"q": "q"}, temperature=0), chosen) == told(interpreted, chosen)

    remote = compiled.run(q="q", temperature=0, remote=True)
    assert remote.text() == interpreted.text()
    assert remote.messages() == interpreted.messages()
    assert comparable(told(remote, outputs)) == comparable(told(interpreted, outputs))
    assert remote.usage.round_trips == 1


def comparable(values):
    """A server tells why a value failed, not its class."""
    return json.loads(json.dumps(values).replace("UndefinedVariable", "ProgramError"))
