import pytest
from hypothesis import given
from hypothesis import strategies as st

from radixlang.constrained.fsm.choices import of_strings
from radixlang.errors import GrammarTooLarge


@given(st.lists(st.text(st.sampled_from("ab中"), max_size=5), max_size=12))
def test_exactly_the_strings_are_accepted(choices: list[str]) -> None:
    strings = {c.encode() for c in choices}
    dfa = of_strings(sorted(strings, reverse=True))
    assert set(dfa.strings()) == strings
    assert dfa.is_empty == (not strings)


def test_equal_endings_are_joined() -> None:
    dfa = of_strings([f"{i:04} is a number".encode() for i in range(10_000)])
    assert dfa.num_states < 30
    assert dfa.accepts(b"4711 is a number")


def test_strings_that_no_token_can_write_are_left_out() -> None:
    assert set(of_strings([b"ab", b"ac"], frozenset(b"b")).strings()) == {b"ac"}


def test_too_many_are_refused() -> None:
    with pytest.raises(GrammarTooLarge):
        of_strings([bytes([97 + i % 26]) * 4 + str(i * 7919).encode() * 30 for i in range(2000)])
