"""Stop strings and patterns against a search of the whole text."""

from __future__ import annotations

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from radixlang.errors import InvalidSampling
from radixlang.runtime.scheduler.stops import StopChecker, StopTimeout


class Pieces:
    """A detokenizer whose token i is the i-th of some strings."""

    def __init__(self, pieces) -> None:
        self.pieces = pieces

    def push(self, token_ids):
        return "".join(self.pieces[token] for token in token_ids)

    def flush(self):
        return ""


def first_stop(pieces, stop, stop_regex=()):
    """(number of pieces after which it stopped, what matched)."""
    checker = StopChecker(stop, stop_regex, lambda: Pieces(pieces))
    for number in range(len(pieces)):
        found = checker.push(number)
        if found is not None:
            return number + 1, found
    return None


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(
    pieces=st.lists(st.text("ab", max_size=3), max_size=20),
    stop=st.lists(st.text("ab", min_size=1, max_size=5), min_size=1, max_size=3, unique=True),
)
def test_a_stop_is_found_with_the_token_that_completes_it(pieces, stop) -> None:
    expected = None
    for number in range(1, len(pieces) + 1):
        text = "".join(pieces[:number])
        found = [(text.find(string), order) for order, string in enumerate(stop) if string in text]
        if found:
            expected = (number, stop[min(found)[1]])
            break
    assert first_stop(pieces, stop) == expected


def test_long_texts_are_searched_at_their_end_only() -> None:
    pieces = ["x" * 50] * 100 + ["EN", "D"]
    assert first_stop(pieces, ["END"]) == (102, "END")


def test_a_pattern_may_span_tokens_and_competes_with_strings() -> None:
    assert first_stop(["a1", "2b", "3"], ["b3"], [r"\d\d"]) == (2, r"\d\d")
    assert first_stop(["xyz", "END 42"], ["42"], ["E.D"]) == (2, "E.D")


def test_an_empty_match_stops_nothing() -> None:
    assert first_stop(["ab", "cd"], (), ["x*"]) is None


def test_a_bad_pattern_is_refused() -> None:
    with pytest.raises(InvalidSampling, match="stop_regex"):
        StopChecker((), ("(",), lambda: Pieces([]))


def test_a_pattern_that_takes_too_long_gives_up() -> None:
    checker = StopChecker((), (r"(a|aa|a.)+$x",), lambda: Pieces(["a" * 60 + "!"]))
    with pytest.raises(StopTimeout):
        checker.push(0)
    assert regex.compile("a").search("a")


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(
    pieces=st.lists(st.text("ab", max_size=3), min_size=1, max_size=12),
    taken_back=st.lists(st.text("ab", max_size=3), max_size=4),
    at=st.integers(0, 12),
    skip=st.integers(0, 3),
)
def test_what_was_taken_back_is_no_part_of_the_text(pieces, taken_back, at, skip):
    at = min(at, len(pieces))
    texts = [*pieces, *taken_back]
    plain, disturbed = (StopChecker(("ab", "bab"), ("a{3}",), lambda: Pieces(texts), skip=skip) for _ in range(2))
    for number in range(at):
        plain.push(number)
        disturbed.push(number)
    for number in range(len(taken_back)):
        disturbed.push(len(pieces) + number)
    disturbed.begin_again(list(range(at)))
    for number in range(at, len(pieces)):
        assert disturbed.push(number) == plain.push(number)
