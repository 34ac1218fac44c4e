from __future__ import annotations

import radixlang as sgl


@sgl.function
def judged(s):
    s += "Q:"
    g = s.fork(3)
    for i, branch in enumerate(g):
        branch += " A" + sgl.gen("a", max_tokens=4) + f" {i // 2}" + sgl.gen("b", max_tokens=2)
    g.join()


def calls(backend):
    return [r for r in backend.requests if r.get("sampling_params", {}).get("max_new_tokens") != 0]


def test_equal_calls_at_temperature_0_are_asked_once(native):
    backend = native(lambda prompt: f"{len(prompt)}{prompt[-1]}....")
    expected = [list(judged.run(temperature=0)[name]) for name in "ab"]
    backend.requests.clear()
    state = judged.compile().run(temperature=0)
    assert [list(state[name]) for name in "ab"] == expected
    assert len(calls(backend)) == 3  # a once; b for "0", whose twin is merged too, and for "1"
    assert state.usage.requests == 3


def test_drawn_calls_are_not(native):
    backend = native()
    judged.compile().run(temperature=1.0).sync()
    state = judged.compile().run(temperature=1.0)
    state["b"]
    assert len(calls(backend)) == 12


def test_programs_called_with_equal_arguments_are_run_once(native):
    backend = native(lambda prompt: prompt[-1] * 9)

    @sgl.function
    def inner(s, q):
        s += q + sgl.gen("x", max_tokens=2)

    @sgl.function
    def outer(s):
        a, b = inner(q="1"), inner(q="1")
        s += a["x"] + b["x"]

    assert outer.compile().run(temperature=0).text() == "1111"
    assert len(backend.requests) == 1


def test_a_twin_counts_as_a_branch_of_the_fork(native):
    native(lambda prompt: "xy")

    @sgl.function
    def p(s):
        s += "T"
        g = s.fork(2)
        for branch in g:
            branch += "-" + sgl.gen("a", max_tokens=2)
        g.join("concate_and_append")

    assert p.compile().run(temperature=0).text() == p.run(temperature=0).text() == "T-xy-xy"


def test_many_equal_branches_are_merged_in_one_go():
    @sgl.function
    def p(s):
        s += "x"
        for branch in s.fork(600):
            branch += "y" + sgl.gen("a", max_tokens=1) + "z" + sgl.gen("b", max_tokens=1)

    graph = p.compile(mode="graph").plan(temperature=0)
    assert graph.stats()["gens"] == 2
    assert len(graph.nodes) < 20
