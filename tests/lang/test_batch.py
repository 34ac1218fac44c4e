from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest

import radixlang as sgl
from radixlang.lang.loop import background_loop, spawn


@sgl.function
def steps(s, i):
    s += f"{i}:" + sgl.gen("a", max_tokens=30)
    s += f" {s['a']} " + sgl.gen("b", max_tokens=30)


def test_a_thousand_data_dependent_programs_need_few_threads(native):
    backend = native()
    background_loop()
    before = threading.active_count()
    peak = []

    def reply(prompt):
        peak.append(threading.active_count())
        return str(len(prompt))

    backend.reply = reply
    states = steps.run_batch([{"i": i} for i in range(1000)])
    assert [s["a"] for s in states] == [str(len(f"{i}:")) for i in range(1000)]
    assert max(peak) - before <= 8


def test_programs_progress_together(native):
    """All first calls are made before any is answered, though each body waits for its own."""
    backend = native(lambda prompt: "v")
    backend.hold_back()

    async def let_go_when_all_are_there():
        while len(backend.requests) < 100:
            await asyncio.sleep(0.001)
        backend.hold.set()

    spawn(let_go_when_all_are_there())
    assert len(steps.run_batch([{"i": i} for i in range(100)])) == 100


def test_num_threads_bounds_what_is_in_flight(scripted):
    backend = scripted(lambda text, params: "v", delay=0.01)
    steps.run_batch([{"i": i} for i in range(12)], num_threads=3)
    assert backend.peak <= 3


def test_order_tuples_and_generators(native):
    native(lambda prompt: prompt[0])
    assert [s["a"] for s in steps.run_batch([(3,), (1,), (2,)])] == ["3", "1", "2"]
    lazily = steps.run_batch([(3,), (1,)], generator_style=True)
    assert [s["a"] for s in lazily] == ["3", "1"]
    assert {i: s["a"] for i, s in steps.run_batch([(3,), (1,)], as_completed=True)} == {0: "3", 1: "1"}
    assert steps.run_batch([]) == []


def test_wrong_arguments_are_refused_before_anything_runs(native):
    backend = native()
    for entries in ([(1, 2)], [{"i": 1}, {"j": 2}], [{}], ["text"]):
        with pytest.raises(TypeError):
            steps.run_batch(entries)
    with pytest.raises(TypeError, match="no option nonsense"):
        steps.run_batch([(1,)], nonsense=1)
    assert backend.requests == []


def test_backend_errors_stay_in_the_states_and_bugs_are_raised(scripted):
    scripted(lambda text, params: 1 / 0 if text.startswith("1") else "v")

    @sgl.function
    def lazy(s, i):
        s += f"{i}" + sgl.gen("a")

    states = lazy.run_batch([(0,), (1,), (2,)])
    assert [s.error() is None for s in states] == [True, False, True]

    @sgl.function
    def buggy(s, i):
        s += f"{i}"
        if i == 1:
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        buggy.run_batch([(0,), (1,), (2,)])
    states = buggy.run_batch([(0,), (1,), (2,)], on_error="state")
    assert [s.error() is None for s in states] == [True, False, True]


def test_bound_values_do_not_leak_into_the_callers_dicts(native):
    native()
    entries = [{"i": 1}]

    @sgl.function
    def p(s, i, j):
        s += f"{i}{j}"

    assert p.bind(j=2).run_batch(entries)[0].text() == "12"
    assert entries == [{"i": 1}]


def test_the_progress_bar_counts_on_stderr(native, capfd):
    native()
    steps.run_batch([(i,) for i in range(3)], progress_bar=True)
    captured = capfd.readouterr()
    assert "3/3" in captured.err
    assert captured.out == ""


def test_a_body_sees_its_callers_context(native):
    var = contextvars.ContextVar("var", default="unset")
    native()

    @sgl.function
    def p(s):
        before = var.get()
        s += "x" + sgl.gen("a")
        s["a"]
        return before, var.get()

    var.set("seen")
    assert {s.ret_value for s in p.run_batch([{}, {}])} == {("seen", "seen")}


def test_a_backend_is_told_a_long_constant_prefix_once(scripted):
    backend = scripted(lambda text, params: "v")
    prefixes = []
    type(backend).cache_prefix, old = (lambda self, text: prefixes.append(text)), type(backend).cache_prefix
    try:

        @sgl.function
        def p(s, q):
            s += "x" * 100 + q + sgl.gen("a")

        p.run_batch([{"q": "1"}, {"q": "2"}])
    finally:
        type(backend).cache_prefix = old
    assert prefixes == ["x" * 100]
