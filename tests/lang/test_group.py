from __future__ import annotations

import threading

import pytest

import radixlang as sgl


def test_branches_run_at_the_same_time(scripted):
    everyone = threading.Barrier(6, timeout=30)
    scripted(lambda text, params: (everyone.wait() and "v") or "v")

    @sgl.function
    def p(s):
        s += "r"
        g = s.fork(6)
        g += sgl.gen("v")
        g.join()

    assert list(p.run()["v"]) == ["v"] * 6


def test_fork_does_not_wait_for_the_parent(scripted):
    go = threading.Event()
    scripted(lambda text, params: (go.wait(30), text[-1])[1])

    @sgl.function
    def p(s):
        s += "a" + sgl.gen("x")
        g = s.fork(2)
        g += lambda i: f"{i}" + sgl.gen("y")
        return g

    group = p.run().ret_value
    go.set()
    assert [branch["y"] for branch in group] == ["0", "1"]
    assert group[0].text() == "aa00"


def test_a_failed_branch_keeps_its_place_in_a_join(scripted):
    scripted(lambda text, params: 1 / 0 if text.endswith("1") else text[-1])

    @sgl.function
    def p(s):
        g = s.fork(3)
        g += lambda i: f"{i}" + sgl.gen("v")
        g.join()

    values = p.run()["v"]
    assert (len(values), values[0], values[2]) == (3, "0", "2")
    with pytest.raises(sgl.ProgramError, match="division"):
        values[1]
    with pytest.raises(sgl.ProgramError):
        list(values)


def test_join_gathers_only_what_the_branches_defined(scripted):
    scripted(lambda text, params: text[-1])

    @sgl.function
    def p(s):
        s += "r" + sgl.gen("old") + sgl.gen("again")
        g = s.fork(2)
        g += lambda i: f"{i}" + sgl.gen("again")
        g[0] += sgl.gen("only_first")
        g.join()

    state = p.run()
    assert state["old"] == "r"
    assert state["again"] == ["0", "1"]
    with pytest.raises(sgl.UndefinedVariable):
        state["only_first"][1]


def test_join_concatenates_the_branches_text(scripted):
    scripted(lambda text, params: "v")

    @sgl.function
    def p(s):
        s += "head "
        g = s.fork(2)
        g += lambda i: f"[{i}" + sgl.gen("v") + "]"
        g.join("concate_and_append")
        s += " tail" + sgl.gen("w")

    assert p.run().text() == "head [0v][1v] tailv"


def test_concatenating_a_failed_branch_fails_the_parent(scripted):
    scripted(lambda text, params: 1 / 0)

    @sgl.function
    def p(s):
        g = s.fork(2)
        g += sgl.gen("v")
        g.join("concate_and_append")

    with pytest.raises(sgl.ProgramError, match="division"):
        p.run().text()


def test_first_takes_the_quickest_and_cancels_the_rest(scripted):
    never = threading.Event()
    scripted(lambda text, params: text[-1] if text[-1] in "13" else never.wait(20) or "late")

    @sgl.function
    def p(s):
        g = s.fork(4)
        g += lambda i: f"{i}" + sgl.gen("v")
        winners = g.first(2, "v")
        return sorted(w["v"] for w in winners), [b.cancelled for b in g]

    assert p.run().ret_value == (["1", "3"], [True, False, True, False])
    never.set()


def test_first_says_when_too_few_succeed(scripted):
    scripted(lambda text, params: 1 / 0)

    @sgl.function
    def p(s):
        g = s.fork(2)
        g += sgl.gen("v")
        g.first(1, "v")

    with pytest.raises(sgl.ProgramError, match="only 0 of 2"):
        p.run()


def test_vote_counts_and_ties_go_to_the_lowest_branch(scripted):
    answers = {"0": "no", "1": "yes", "2": "yes", "3": "no"}
    scripted(lambda text, params: 1 / 0 if text[-1] == "4" else answers[text[-1]])

    @sgl.function
    def p(s, size):
        g = s.fork(size)
        g += lambda i: f"{i}" + sgl.gen("v")
        return g.vote("v")

    assert p.run(size=3).ret_value == "yes"
    assert p.run(size=4).ret_value == "no"
    assert p.run(size=5).ret_value == "no"


def test_a_group_takes_strings_lists_functions_and_expressions(scripted):
    scripted(lambda text, params: "v")

    @sgl.function
    def p(s):
        g = s.fork(2)
        g += "a"
        g += ["b", "c"]
        g += lambda i: f"{i}"
        g += "x" + sgl.gen("v")
        with pytest.raises(ValueError, match="3 expressions for 2"):
            g += ["1", "2", "3"]
        with pytest.raises(TypeError, match="int"):
            g += 5
        return [b.text() for b in g]

    assert p.run().ret_value == ["ab0xv", "ac1xv"]


def test_forks_that_fork_again_end_with_an_error(native):
    native()

    @sgl.function
    def p(s, width, depth):
        def grow(state, left):
            for branch in state.fork(width) if left else ():
                grow(branch, left - 1)

        s += "x"
        grow(s, depth)

    for width, depth in ((10**9, 1), (40, 4)):
        with pytest.raises(sgl.ProgramError, match="streams"):
            p.run(width=width, depth=depth)
        with pytest.raises(sgl.TraceError, match="streams"):
            p.compile(mode="graph", width=width, depth=depth)


def test_first_without_a_name_takes_branches_that_have_done_all(scripted):
    never = threading.Event()

    def reply(text, params):
        if text.endswith("0"):
            raise ValueError("no")
        return "done" if text.endswith("2") else never.wait(20) or "late"

    scripted(reply)

    @sgl.function
    def p(s):
        g = s.fork(3)
        g += lambda i: f"{i}" + sgl.gen("v") + "."
        (winner,) = g.first(1)
        never.set()
        return winner.text()

    assert p.run().ret_value == "2done."
