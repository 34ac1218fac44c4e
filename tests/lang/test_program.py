from __future__ import annotations

import inspect

import pytest

import radixlang as sgl


@sgl.function
def p(s, a, b="two", *, c="three"):
    s += a + "|" + b + "|" + c + sgl.gen("x")


def test_the_signatures_that_editors_show():
    names = list(inspect.signature(p.run).parameters)
    assert names[:4] == ["args", "max_new_tokens", "n", "stop"]
    assert {"stream", "backend", "use_thread", "timeout", "kwargs"} <= set(names)
    batch = inspect.signature(p.run_batch).parameters
    assert (batch["num_threads"].default, batch["progress_bar"].default) == ("auto", False)
    assert "use_thread" not in batch


def test_arguments_bind_as_in_a_call(scripted):
    scripted(lambda text, params: "")
    assert p.run("one").text() == "one|two|three"
    assert p.run("one", c="C").text() == "one|two|C"
    for wrong in ({}, {"a": "x", "nonsense": 1}):
        with pytest.raises(TypeError, match=r"p\(\)"):
            p.run(**wrong)
    with pytest.raises(TypeError):
        p.run(stream=True)


def test_an_argument_of_the_call_beats_a_bound_one(scripted):
    scripted(lambda text, params: "")
    bound = p.bind(a="bound", c="c")
    assert bound.run().text() == "bound|two|c"
    assert bound.run(a="given").text() == "given|two|c"
    assert bound.run("positional").text() == "positional|two|c"
    assert p.run("x").text() == "x|two|three"
    with pytest.raises(AssertionError, match="nonsense"):
        p.bind(nonsense=1)


def test_bind_keeps_the_options_of_the_decorator():
    @sgl.function(num_api_spec_tokens=8)
    def q(s, a):
        s += a

    assert q.bind(a="x").num_api_spec_tokens == 8


def test_a_programs_own_argument_wins_over_a_run_option(scripted):
    backend = scripted(lambda text, params: "v")

    @sgl.function
    def q(s, n, stop="none"):
        s += f"{n}{stop}" + sgl.gen("x")

    assert q.run(n=3, stop="s").text() == "3sv"
    assert (backend.params[0].n, list(backend.params[0].stop)) == (1, [])


def test_the_first_parameter_is_s():
    with pytest.raises(AssertionError, match='must be "s"'):

        @sgl.function
        def q(state):
            pass


def test_events_tell_what_happens(scripted):
    scripted(lambda text, params: "v")
    events = []
    p.run("a", on_event=events.append).text()
    assert [(e["event"], e["name"]) for e in events] == [("gen", "x"), ("value", "x")]
    assert events[1]["value"] == "v"
