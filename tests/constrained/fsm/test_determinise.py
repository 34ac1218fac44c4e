import re
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radixlang.constrained.fsm.determinise import alphabet_of, complement, determinise
from radixlang.constrained.fsm.pattern import char_sets, parse
from radixlang.constrained.fsm.regex_of import regex_of
from radixlang.constrained.fsm.utf8 import to_bytes
from radixlang.errors import GrammarTooLarge, UnsupportedGrammar

ATOMS = ["a", "b", "ab", "é", "中", ".", r"\d", r"\w", r"\s", "[a-c]", "[^a]", r"[\w-]", r"\W", "[中-丽]", "1", r"\n"]
LOOKS = ["(?=a)", "(?!ab)", "(?=.*b)", "(?<=a)", "(?<!b)", r"\b", r"\B", "^", "$", "(?!$)"]
KEPT = ["a*+", "a?+", "(?:ab)++", "[ab]{1,2}+", "(?:a|b){2,}+", "(?>a+)", "(?>ab|ba)", "(?>[ab]{1,3})", "(?>)"]
TEXTS = st.text(st.sampled_from("ab1 cé中丽\nAÉß²٣_-"), max_size=7)


def patterns(atoms: list[str]) -> st.SearchStrategy[str]:
    return st.recursive(
        st.sampled_from(atoms),
        lambda inner: st.one_of(
            st.tuples(inner, inner).map("".join),
            st.tuples(inner, inner).map(lambda pair: f"(?:{pair[0]}|{pair[1]})"),
            st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{2,}", "*?"])).map(
                lambda pair: f"(?:{pair[0]}){pair[1]}"
            ),
            inner.map(lambda p: f"(?i:{p})"),
        ),
        max_leaves=6,
    )


def dfa_of(pattern: str):
    tree = parse(pattern)
    alphabet = alphabet_of(char_sets(tree))
    return to_bytes(determinise(tree, alphabet), alphabet)


@settings(max_examples=100, deadline=None)
@given(patterns(ATOMS), st.lists(TEXTS, max_size=12))
def test_the_automaton_accepts_what_re_matches(pattern: str, texts: list[str]) -> None:
    dfa = dfa_of(pattern)
    for text in texts:
        assert dfa.accepts(text.encode()) == (re.fullmatch(pattern, text) is not None), text


@settings(max_examples=100, deadline=None)
@given(patterns(ATOMS[:8] + LOOKS), st.lists(TEXTS, max_size=12))
def test_lookarounds_and_anchors_mean_what_re_says(pattern: str, texts: list[str]) -> None:
    try:
        dfa = dfa_of(pattern)
    except (GrammarTooLarge, UnsupportedGrammar):
        return
    for text in texts:
        if text or r"\B" not in pattern:  # whether \B matches in "" differs between Python's versions
            assert dfa.accepts(text.encode()) == (re.fullmatch(pattern, text) is not None), text


@pytest.mark.skipif(sys.version_info < (3, 11), reason="not Python's syntax before")
@settings(max_examples=100, deadline=None)
@given(patterns(["a", "b", "é", *KEPT]), st.lists(st.text(st.sampled_from("aaabbé"), max_size=8), max_size=12))
def test_what_never_gives_back_what_it_took_means_what_re_says(pattern: str, texts: list[str]) -> None:
    try:
        dfa = dfa_of(pattern)
    except GrammarTooLarge:
        return
    for text in texts:
        assert dfa.accepts(text.encode()) == (re.fullmatch(pattern, text) is not None), text


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.none() | st.integers(0, 3)), min_size=2, max_size=3),
    st.sampled_from(["a", "ab", "[ab]", "a|b"]),
    st.lists(st.text("ab", max_size=12), max_size=12),
)
def test_nested_repetitions_mean_what_re_says(bounds, inner: str, texts: list[str]) -> None:
    pattern = inner
    for low, more in bounds:
        pattern = f"(?:{pattern}){{{low},{'' if more is None else low + more}}}"
    dfa = dfa_of(pattern)
    for text in [*texts, *("a" * n for n in range(20))]:
        assert dfa.accepts(text.encode()) == (re.fullmatch(pattern, text) is not None), text


@settings(max_examples=50, deadline=None)
@given(patterns(ATOMS[:8] + LOOKS[:3]), st.lists(TEXTS, max_size=12))
def test_back_to_a_regex_and_complement_keep_the_language(pattern: str, texts: list[str]) -> None:
    tree = parse(pattern)
    alphabet = alphabet_of(char_sets(tree))
    try:
        dfa = determinise(tree, alphabet)
        again = to_bytes(determinise(regex_of(dfa, alphabet)), alphabet_of(char_sets(regex_of(dfa, alphabet))))
    except (GrammarTooLarge, UnsupportedGrammar):
        return
    other = to_bytes(complement(dfa), alphabet)
    for text in texts:
        matches = re.fullmatch(pattern, text) is not None
        assert again.accepts(text.encode()) == matches, text
        assert other.accepts(text.encode()) != matches, text


@pytest.mark.parametrize(
    ("pattern", "num_states"),
    [("a|b|c", 2), ("(a|b)*", 1), ("(?:aa|bb)*", 3), ("abc|abd", 4), ("x{3,5}", 6), (".*a.{3}", 16)],
)
def test_automata_are_minimal(pattern: str, num_states: int) -> None:
    assert len(determinise(parse(pattern)).table) - 1 == num_states


@pytest.mark.parametrize(
    "pattern", ["((a{1,30}){1,30}){1,30}b", "[a-z]{1,1000}", "(.*a.{14})", "x*" * 9000, "(?:a{0,99}b?){0,999}"]
)
def test_large_automata_are_given_up(pattern: str) -> None:
    with pytest.raises(GrammarTooLarge):
        determinise(parse(pattern))
