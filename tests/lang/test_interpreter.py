from __future__ import annotations

import asyncio
import contextvars
import gc
import threading

import pytest

import radixlang as sgl


def test_run_returns_before_generation_ends(scripted):
    go = threading.Event()
    scripted(lambda text, params: go.wait(30) and "done")

    @sgl.function
    def p(s):
        s += "x" + sgl.gen("a")

    state = p.run()  # would wait for ever if it waited for the generation
    go.set()
    assert state["a"] == "done"
    assert state.text() == "xdone"


def test_no_thread_per_stream(native):
    backend = native()

    @sgl.function
    def p(s, i):
        s += str(i) + sgl.gen("a")

    p.run(i=0).text()
    before = threading.active_count()
    states = [p.run(i=i) for i in range(300)]
    assert threading.active_count() <= before
    assert [s["a"] for s in states] == [f"[{len(str(i))}]" for i in range(300)]
    assert len(backend.requests) == 301


def test_a_failed_value_names_its_gen_and_keeps_its_cause(scripted):
    scripted(lambda text, params: 1 / 0)

    @sgl.function
    def p(s):
        s += "x" + sgl.gen("a")
        s += "y" + sgl.gen("b")

    state = p.run()
    for read in (lambda: state["a"], lambda: state["b"], state.text, state.messages, lambda: state.get_meta_info("b")):
        with pytest.raises(sgl.ProgramError) as caught:
            read()
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
        assert isinstance(caught.value, KeyError)
        assert isinstance(caught.value, RuntimeError)
        assert "test_interpreter.py" in str(caught.value)
    assert isinstance(state.error(), sgl.ProgramError)


def test_nothing_hangs_after_a_failure(scripted):
    scripted(lambda text, params: 1 / 0)

    @sgl.function
    def p(s):
        s += sgl.gen("a")

    state = p.run()
    assert state.error() is not None
    state += "more" + sgl.gen("late")
    with state.var_scope("scope"):
        state += "inside"
    branch = state.fork(2)[1]
    branch += sgl.gen("z")
    for read in (state.text, lambda: state["late"], lambda: state["scope"], branch.text, lambda: branch["z"]):
        with pytest.raises(sgl.ProgramError):
            read()
    state.sync()


def test_values_known_before_a_failure_stay_readable(scripted):
    scripted(lambda text, params: "ok" if text == "x" else 1 / 0)

    @sgl.function
    def p(s):
        s += "x" + sgl.gen("a") + sgl.gen("b")

    state = p.run()
    state.sync()
    assert state["a"] == "ok"
    with pytest.raises(sgl.ProgramError):
        state["b"]


def test_use_thread_false_raises_from_run(scripted):
    scripted(lambda text, params: 1 / 0)

    @sgl.function
    def p(s):
        s += sgl.gen("a")

    with pytest.raises(sgl.ProgramError):
        p.run(use_thread=False)


def test_an_exception_of_the_body_is_raised_by_run_and_by_streams(scripted):
    scripted()

    @sgl.function
    def p(s):
        s += "x"
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        p.run()
    with pytest.raises(sgl.ProgramError, match="mine"):
        list(p.run(stream=True).text_iter())


def test_context_variables_reach_the_backend_as_they_are_at_the_append(scripted):
    var = contextvars.ContextVar("var", default="unset")
    scripted(lambda text, params: var.get())

    @sgl.function
    def p(s):
        var.set("first")
        s += sgl.gen("a")
        var.set("second")
        s += sgl.gen("b")

    state = p.run()
    assert (state["a"], state["b"]) == ("first", "second")


def test_a_timeout_ends_the_program_and_aborts_its_request(native, until):
    backend = native()
    backend.hold_back()

    @sgl.function
    def p(s):
        s += "x" + sgl.gen("a")

    state = p.run(timeout=0.05)
    with pytest.raises(sgl.ProgramTimeout, match=r"0\.05"):
        state["a"]
    until(lambda: len(backend.closed) == 1)


def test_retries_repeat_a_call_that_failed(scripted):
    tries = []

    def reply(text, params):
        tries.append(text)
        if len(tries) < 3:
            raise OSError("try again")
        return "ok"

    scripted(reply)

    @sgl.function
    def p(s):
        s += "x" + sgl.gen("a")

    assert p.run(retries=2)["a"] == "ok"
    assert tries == ["x"] * 3
    tries.clear()
    with pytest.raises(sgl.ProgramError, match="try again"):
        p.run(retries=1)["a"]


def test_a_spent_budget_stops_the_next_call(scripted):
    backend = scripted(lambda text, params: "v")

    @sgl.function
    def p(s):
        s += sgl.gen("a") + sgl.gen("b") + sgl.gen("c")

    state = p.run(budget=sgl.Budget(requests=2))
    assert state["b"] == "v"
    with pytest.raises(sgl.BudgetExceeded, match="2 requests"):
        state["c"]
    assert len(backend.calls) == 2
    assert (state.usage.requests, state.usage.completion_tokens) == (2, 2)


def test_a_cancelled_program_aborts_and_its_values_raise(native, until):
    backend = native(lambda prompt: "abc" * 100)
    backend.hold_back()

    @sgl.function
    def p(s):
        s += "x" + sgl.gen("a", max_tokens=300) + sgl.gen("b")

    state = p.run()
    until(lambda: len(backend.requests) == 1)
    state.cancel()
    for name in ("a", "b"):
        with pytest.raises(sgl.Cancelled):
            state[name]
    assert state.cancelled
    assert state.get_meta_info("a")["finish_reason"]["type"] == "abort"
    until(lambda: len(backend.closed) == 1)


def test_cancelling_a_finished_program_changes_nothing(scripted):
    scripted(lambda text, params: "v")

    @sgl.function
    def p(s):
        s += sgl.gen("a")

    with p.run() as state:
        assert state["a"] == "v"
    assert not state.cancelled
    assert state.text() == "v"


def test_a_dropped_stream_is_aborted(native, until):
    backend = native(lambda prompt: "abc" * 100)
    backend.hold_back()

    @sgl.function
    def p(s):
        s += "x" + sgl.gen("a", max_tokens=300)

    state = p.run(stream=True)
    until(lambda: len(backend.requests) == 1)
    del state
    gc.collect()
    until(lambda: len(backend.closed) == 1)


def test_a_run_counts_and_ends_the_programs_that_its_body_runs(native, until):
    backend = native(lambda prompt: "v" * 9)

    @sgl.function
    def inner(s):
        s += "in" + sgl.gen("v", max_tokens=3)

    @sgl.function
    def outer(s):
        s += "out" + sgl.gen("v", max_tokens=2) + inner()["v"]
        s += sgl.gen("w", max_tokens=1)

    state = outer.run()
    assert state.text() == "outvvvvvv"
    assert (state.usage.requests, state.usage.completion_tokens) == (3, 6)
    assert len({request["program_id"] for request in backend.requests}) == 1
    with pytest.raises(sgl.BudgetExceeded):
        outer.run(budget=sgl.Budget(requests=2)).text()

    backend.hold_back()
    with pytest.raises(sgl.ProgramTimeout):
        outer.run(timeout=0.05)
    until(lambda: len(backend.closed) == 1)


@pytest.mark.parametrize("option", [{"timeout": 0}, {"timeout": -1}, {"timeout": float("nan")}, {"retries": -1}])
def test_limits_that_cannot_be_are_refused(native, option):
    native()

    @sgl.function
    def p(s):
        s += sgl.gen("v")

    with pytest.raises(ValueError, match=next(iter(option))):
        p.run(**option)
    with pytest.raises(ValueError, match=next(iter(option))):
        p.compile().run(**option)


def test_a_body_that_raises_ends_what_it_began_where_nobody_can_read_it(native, until):
    backend = native(lambda prompt: "v" * 9)

    @sgl.function
    def p(s):
        s += "x" + sgl.gen("a", max_tokens=1)
        s["a"]
        backend.hold_back()
        g = s.fork(2)
        g += sgl.gen("b", max_tokens=3)
        until(lambda: len(backend.requests) == 3)
        raise LookupError("a bug")

    def run_async():
        asyncio.run(p.arun())

    for run in (p.run, lambda: p.run_batch([{}]), run_async):
        backend.requests.clear()
        backend.closed.clear()
        backend.hold = None
        with pytest.raises(LookupError):
            run()
        until(lambda: len(backend.closed) == 2)
