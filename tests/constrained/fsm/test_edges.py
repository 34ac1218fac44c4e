"""Lookarounds at one character, written into what stands beside them: the language stays, the lookarounds go."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radixlang.constrained.fsm.determinise import alphabet_of, determinise
from radixlang.constrained.fsm.edges import without_edges
from radixlang.constrained.fsm.pattern import char_sets, has_look, parse
from radixlang.constrained.fsm.utf8 import to_bytes

TEXTS = st.lists(st.text("ab-. ", min_size=1, max_size=7), min_size=5, max_size=25)  # re finds no \\B in the empty text


def check(pattern: str, texts: list[str]) -> None:
    tree = without_edges(parse(pattern))
    alphabet = alphabet_of(char_sets(tree))
    dfa = to_bytes(determinise(tree, alphabet), alphabet)
    for text in texts:
        expected = re.fullmatch(pattern, text) is not None
        assert dfa.accepts(text.encode()) == expected, text


@pytest.mark.parametrize(
    "pattern",
    [
        r"a\b.*",
        r"[a.]{1,3}\b[-a]*",
        r".*\bab?\b.*",
        r"\B-\B.*",
        r"(?!-)[-a]{0,4}a(?<!b)",
        r"(?!-)[-a]{1,4}(?<!-)",
        r"(?:(?!-)[ab-]+(?<!-)\.)?[ab]*",
        r"(?:a|\b-)(?=[ab])(?:.?|b{2,3})",
        r"(?:a*(?!b)|-)[ab]?-*",
        r"(?:a?b?){2,3}(?<=b)-?",
        r"a*(?<![^a])b|(?<!a)(?!a)",
        r"^a*$|\b(?:$|-a)",
        r"(?:^|a)b(?:$|-)",
        r".*(?<=a)(?<!b)(?=b)(?!a).*",
        r"(?:a\b)?(?:(?<=a)|-)[. ]*",
    ],
)
@settings(max_examples=8, deadline=None)
@given(texts=TEXTS)
def test_the_language_stays(pattern: str, texts: list[str]) -> None:
    assert not has_look(without_edges(parse(pattern)))
    check(pattern, texts)


PIECES = st.sampled_from(
    [
        r"\b",
        r"\B",
        "(?!-)",
        "(?<!a)",
        "(?=[ab])",
        "(?<=-)",
        "^",
        r"\Z",
        "a",
        "[ab-]",
        "a?",
        "-*",
        "(?:a|-b)",
        "[a.]{1,2}",
    ]
)


@settings(max_examples=40, deadline=None)
@given(st.lists(PIECES, min_size=1, max_size=6).map("".join), TEXTS)
def test_the_language_of_any_pattern_stays(pattern: str, texts: list[str]) -> None:
    check(pattern, texts)


@pytest.mark.parametrize("pattern", ["(?!ab)[ab]+", "(?:a(?!b))*-", "(?<=ab)-?"])
def test_what_asks_for_more_than_a_character_stays(pattern: str) -> None:
    tree = parse(pattern)
    assert without_edges(tree) == tree


def test_many_boundaries_are_given_up_soon() -> None:
    tree = parse(r"(?:\b|a?)" * 12)
    assert without_edges(tree) == tree
    assert has_look(without_edges(parse(r"\b[ab]?[.-]?" * 30)))
