import itertools
import re

import pytest

from radixlang.constrained.fsm.automaton import ByteDfa
from radixlang.constrained.fsm.determinise import alphabet_of, determinise
from radixlang.constrained.fsm.pattern import char_sets, parse
from radixlang.constrained.fsm.utf8 import to_bytes


def dfa_of(pattern: str, absent: frozenset[int] = frozenset()) -> ByteDfa:
    tree = parse(pattern)
    alphabet = alphabet_of(char_sets(tree))
    return to_bytes(determinise(tree, alphabet), alphabet, absent)


@pytest.mark.parametrize("pattern", ["[ab]{0,4}", "a*b?", "(?:ab|ba)+", "", "a{3}"])
def test_counts_are_those_of_all_strings_tried(pattern: str) -> None:
    expected = [
        sum(re.fullmatch(pattern, "".join(text)) is not None for text in itertools.product("abc", repeat=n))
        for n in range(6)
    ]
    assert dfa_of(pattern).count(5) == expected


@pytest.mark.parametrize(
    ("pattern", "is_finite"), [("a{0,9}", True), ("a*", False), ("a|bc", True), ("(?:ab)+", False), ("[^\\s\\S]", True)]
)
def test_finite_languages_are_told_from_endless_ones(pattern: str, is_finite: bool) -> None:
    assert dfa_of(pattern).is_finite == is_finite


def test_strings_come_shortest_first_and_are_all() -> None:
    assert list(dfa_of("a|bb?|c{3}").strings()) == [b"a", b"b", b"bb", b"ccc"]
    assert list(itertools.islice(dfa_of("a*").strings(), 3)) == [b"", b"a", b"aa"]


@pytest.mark.parametrize(
    ("pattern", "begun", "rest"),
    [("a+b", b"", b"ab"), ("a+b", b"a", b"b"), ("(?:xyz|x)", b"x", b""), ("中{2}", "中".encode(), "中".encode())],
)
def test_the_shortest_completion_ends_the_text(pattern: str, begun: bytes, rest: bytes) -> None:
    dfa = dfa_of(pattern)
    assert dfa.shortest_completion(dfa.step(1, begun)) == rest


def test_forced_bytes_run_to_the_first_choice_or_possible_end() -> None:
    assert dfa_of("hello (?:x|y)").forced_bytes(1)[0] == b"hello "
    assert dfa_of("hello(?: world)?").forced_bytes(1)[0] == b"hello"
    assert dfa_of("[ab]").forced_bytes(1)[0] == b""
    assert dfa_of("a*b").forced_bytes(1)[0] == b""


def test_bytes_that_no_token_holds_are_left_out() -> None:
    dfa = dfa_of("a|bc|c", absent=frozenset(b"b"))
    assert sorted(dfa.strings()) == [b"a", b"c"]
    assert dfa_of("b+", absent=frozenset(b"b")).is_empty


def test_every_state_can_still_be_completed() -> None:
    dfa = dfa_of(r"(?:ab|a[0-9]{3})(?!x)[a-z中-丽]*é")
    for state in range(1, dfa.num_states):
        assert dfa.accepting[dfa.step(state, dfa.shortest_completion(state))]


@pytest.mark.parametrize(
    "text", [b"\xed\xa0\x80", b"\xc0\x80", b"\xf5\x80\x80\x80", b"\xff", b"\xe4\xb8", b"\x80", b"\xf4\x90\x80\x80"]
)
def test_only_utf8_is_accepted(text: bytes) -> None:
    assert not dfa_of(r"(?s).*").accepts(text)
    assert not dfa_of(r"[^a]+").accepts(text)


def test_all_of_utf8_is_accepted() -> None:
    dfa = dfa_of("(?s).")
    every = [*range(0xD800), *range(0xE000, 0x110000)]
    assert all(dfa.accepts(chr(c).encode()) for c in every[::97])
    assert all(
        dfa.accepts(chr(c).encode()) for c in (0, 0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x10FFFF)
    )
