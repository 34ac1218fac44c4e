from __future__ import annotations

import dataclasses
import enum
from typing import Literal

import pytest

import radixlang as sgl


def test_scopes_and_set_variables(scripted):
    scripted(lambda text, params: "v")

    @sgl.function
    def p(s):
        s["mine"] = 5
        with s.var_scope("w"):
            s += "{" + sgl.gen("a") + "}"
        s.set_var("a", "over")

    state = p.run()
    assert (state["mine"], state["w"], state["a"]) == (5, "{v}", "over")
    assert "w" in state
    assert "nope" not in state
    with pytest.raises(sgl.UndefinedVariable, match="there are: a, mine, w"):
        state["nope"]


def test_a_role_closes_when_its_body_raises(scripted):
    scripted()

    @sgl.function
    def p(s):
        try:
            with s.user():
                s += "half"
                raise LookupError
        except LookupError:
            s["caught"] = True
        s += sgl.assistant("ok")

    state = p.run()
    assert state["caught"]
    assert [m["role"] for m in state.messages()] == ["user", "assistant"]


def test_nested_and_unopened_roles_are_refused(scripted):
    scripted()

    @sgl.function
    def nested(s):
        with s.user(), s.assistant():
            s += "x"

    @sgl.function
    def unopened(s):
        s += sgl.user_end()

    for program in (nested, unopened):
        with pytest.raises(sgl.ProgramError, match="role"):
            program.run().text()


def test_what_cannot_be_appended_is_refused_at_once(scripted):
    scripted()

    @sgl.function
    def p(s, what):
        s += what

    with pytest.raises(ValueError, match="None"):
        p.run(None)
    with pytest.raises(TypeError, match="int"):
        p.run(5)
    assert p.run(["a", "b"]).text() == "ab"


def test_programs_run_inline_with_names_of_their_own(scripted):
    scripted(lambda text, params: text[-1])

    @sgl.function
    def inner(s, q):
        s += "[" + q + sgl.gen("a")
        with s.var_scope("w"):
            s += s["a"] + "]"

    @sgl.function
    def outer(s):
        s += inner.inline("1") + inner.inline(q="2", into="second") + "."

    state = outer.run()
    assert state.text() == "[111][222]."
    assert (state["a"], state["second"]["a"], state["second"]["w"]) == ("1", "2", "2]")
    assert "w" in state["second"]


def test_a_program_calls_another(scripted):
    scripted(lambda text, params: text[-1])

    @sgl.function
    def inner(s, q):
        s += q + sgl.gen("a")

    @sgl.function
    def outer(s):
        s += "<" + inner(q="7")["a"] + ">"

    assert outer.run().text() == "<7>"
    assert [s.text() for s in outer.run_batch([{}, {}])] == ["<7>"] * 2


class Size(enum.Enum):
    SMALL = "small"
    BIG = "big"


@dataclasses.dataclass
class City:
    name: str
    size: Size
    people: int = 0


def test_values_have_the_type_that_was_asked_for(scripted):
    answers = iter(["7", "True", '"q"', "small", '{"name": "Oslo", "size": "big"}', "[1, 2]", '{"name": "Os'])
    scripted(lambda text, params: next(answers))

    @sgl.function
    def p(s):
        kinds = {"i": int, "b": bool, "s": str, "l": Literal["small", "big"], "c": City, "n": list[int], "cut": City}
        for name, kind in kinds.items():
            s += sgl.gen(name, dtype=kind)

    state = p.run()
    assert (state.value("i"), state.value("b"), state.value("s"), state.value("l")) == (7, True, "q", "small")
    assert state.value("c") == City("Oslo", Size.BIG)
    assert state.value("n") == [1, 2]
    assert state["c"] == '{"name": "Oslo", "size": "big"}'
    with pytest.raises(sgl.ProgramError, match="max_tokens"):
        state.value("cut")


def test_a_check_refuses_answers_without_a_trace(native):
    answers = iter(["bad", "worse", "good"])
    backend = native(lambda prompt: next(answers))

    @sgl.function
    def p(s):
        s += "q" + sgl.gen("a", max_tokens=20, check=lambda text: text == "good", repair=2) + "."

    state = p.run()
    assert state.text() == "qgood."
    assert [r["prompt_parts"] for r in backend.requests] == [["q"]] * 3


def test_a_check_that_is_never_met_is_an_error(scripted):
    scripted(lambda text, params: "bad")

    def check(text):
        raise ValueError("must be good")

    @sgl.function
    def p(s):
        s += sgl.gen("a", check=check, repair=1)

    with pytest.raises(sgl.ProgramError, match=r"refused 2 answers.*must be good"):
        p.run()["a"]


@pytest.mark.parametrize("stream", [False, True])
def test_reasoning_is_separated(native, stream):
    backend = native(lambda prompt: "<think>because</think>\n\nfour")

    @sgl.function
    def p(s):
        s += "2+2=" + sgl.separate_reasoning(sgl.gen("a"), model_type="deepseek-r1") + "." + sgl.gen("b", max_tokens=1)

    state = p.run(stream=stream)
    assert (state["a"], state["a_reasoning_content"]) == ("four", "because")
    assert state.text() == "2+2=four.<"
    assert backend.text_of(backend.requests[1]["prompt_parts"]) == "2+2=four."


def test_usage_sums_over_forks(native):
    native(lambda prompt: "v")

    @sgl.function
    def p(s):
        s += "ab"
        g = s.fork(2)
        g += sgl.gen("v", max_tokens=1)
        g.join()

    usage = p.run().usage
    assert (usage.requests, usage.prompt_tokens, usage.completion_tokens, usage.round_trips) == (2, 4, 2, 3)


def test_a_state_prints_as_its_text(scripted):
    @sgl.function
    def p(s):
        s += "Q" + sgl.gen("a")

    scripted(lambda text, params: "!")
    assert str(p.run()) == "ProgramState(Q!)"

    def fail(text, params):
        raise ValueError("out of order")

    scripted(fail)
    assert "out of order" in repr(p.run())
