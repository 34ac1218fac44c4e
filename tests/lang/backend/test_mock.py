from __future__ import annotations

import pytest

import radixlang as sgl


@sgl.function
def p(s, q):
    s += q + sgl.gen("a", stop="!") + sgl.select("c", ["no", "yes"])


def test_the_first_pattern_that_is_found_answers():
    mock = sgl.Mock({r"two$": "2! and more", r"three": "yes", r"yes": "yes"})
    assert p.run(q="two", backend=sgl.Mock({"two$": "2! and more", ".*": "yes"})).text() == "two2yes"
    assert p.run(q="three", backend=mock)["c"] == "yes"
    assert mock.calls == ["three", "threeyes"]


def test_answers_may_be_functions_and_streams_come_in_words():
    mock = sgl.Mock({r"(\d+)$": lambda match: f"{int(match[1]) + 1} is next", ".*": "no"})
    state = p.run(q="41", backend=mock, stream=True)
    assert list(state.text_iter("a")) == ["42 ", "is ", "next"]


def test_a_prompt_without_an_answer_is_an_error():
    with pytest.raises(sgl.ProgramError, match="no answer"):
        p.run(q="x", backend=sgl.Mock({"y": "z"})).text()
