import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radixlang.constrained.fsm.determinise import alphabet_of, determinise
from radixlang.constrained.fsm.pattern import char_sets
from radixlang.constrained.fsm.utf8 import to_bytes
from radixlang.constrained.json_schema.patterns import are_apart, search_tree, search_trees
from radixlang.constrained.json_schema.strings import listed, outside
from radixlang.errors import GrammarSyntaxError

TEXTS = st.lists(st.text(st.sampled_from("ab/1٣é\n\u2028 -"), max_size=6), max_size=15)


def accepts(pattern: str, text: str) -> bool:
    return matches(search_tree(pattern), text)


def matches(tree, text: str) -> bool:
    alphabet = alphabet_of(char_sets(tree))
    return to_bytes(determinise(tree, alphabet), alphabet).accepts(text.encode())


@pytest.mark.parametrize(
    "pattern", ["a", "^a", "b$", "^a|b$", "^(?:ab)+$", "^(?!a).*$", "(?=b)", "[^a]", "^[a-b]{2,}$", "a|^$", r"^a\/b$"]
)
@settings(max_examples=12, deadline=None)
@given(texts=TEXTS)
def test_a_pattern_is_searched_for_as_python_does(pattern: str, texts: list[str]) -> None:
    for text in texts:
        if "\n" not in text and "\u2028" not in text:
            assert accepts(pattern, text) == (re.search(pattern, text) is not None), text


@pytest.mark.parametrize("pattern", [r"^\d$", r"^\D$", r"^\w$", r"^\W$", r"^\s$", r"^\S$", "^.$", "^a$"])
@pytest.mark.parametrize("text", ["1", "٣", "a", "é", "\n", "\u2028", "\xa0", " ", "-", "a\n"])
def test_where_validators_differ_what_is_accepted_satisfies_both(pattern: str, text: str) -> None:
    if accepts(pattern, text):
        assert re.search(pattern, text)
        assert re.search(pattern.replace("$", r"\Z"), text, re.ASCII)


def test_ecma_spellings_are_read() -> None:
    assert accepts(r"^(?<year>\u{31}\x31)\/$", "11/")
    assert accepts(r"^\cJ$", "\n")
    assert accepts(r"^[\w-.]+/[\d-a]$", "a-.b/-")
    assert not accepts(r"^[\w-.]$", "/")


@pytest.mark.parametrize(
    ("pattern", "category", "is_in"),
    [
        (r"^\p{L}$", "L", True),
        (r"^\p{Letter}$", "L", True),
        (r"^[\p{gc=Nd}]$", "Nd", True),
        (r"^\P{General_Category=Uppercase_Letter}$", "Lu", False),
        (r"^[\P{Cc}]$", "Cc", False),
    ],
)
@settings(max_examples=10, deadline=None)
@given(texts=st.lists(st.characters(exclude_categories=["Cs", "Cn"]), max_size=30))
def test_sets_by_name_are_those_of_unicode(pattern: str, category: str, is_in: bool, texts: list[str]) -> None:
    tree = search_tree(pattern)
    alphabet = alphabet_of(char_sets(tree))
    dfa = to_bytes(determinise(tree, alphabet), alphabet)
    for text in [*texts, "a", "A", "1", "-", "\n", "]", "\\", "^", "Ω", "٣"]:
        assert dfa.accepts(text.encode()) == (unicodedata.category(text).startswith(category) == is_in), text


def test_sets_of_other_names_are_refused() -> None:
    for pattern in (r"^\p{Script=Greek}$", r"^\p{Letters}$", r"^\p{L$"):
        with pytest.raises(GrammarSyntaxError):
            search_tree(pattern)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [("^a", "^b", True), ("^a", "b$", False), ("^ab?$", "^a{2}$", True), ("a", "b", False)],
)
def test_disjoint_patterns_are_known(one: str, other: str, expected: bool) -> None:
    assert are_apart(one, other) == expected


@pytest.mark.parametrize(
    "pattern",
    ["^(?!aa|b)[ab]{1,3}$", "^(?!ab$)(?=.*b)[ab]*$", "(?!a)b", "^(?!(?:a|ab)/?)", "^(?![ab]{2})(?!b)a*b?$", "^(?=a)"],
)
@settings(max_examples=30, deadline=None)
@given(texts=TEXTS)
def test_what_looks_ahead_in_front_stands_apart(pattern: str, texts: list[str]) -> None:
    trees = search_trees(pattern)
    for text in texts:
        if "\n" not in text and "\u2028" not in text:
            assert all(matches(tree, text) for tree in trees) == (re.search(pattern, text) is not None), text


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text("ab", max_size=4), min_size=1, max_size=5), st.lists(st.text("abc", max_size=5), max_size=10))
def test_what_is_outside_a_set_of_strings(strings: list[str], texts: list[str]) -> None:
    others, longer = outside(strings), outside(strings, as_beginnings=True)
    for text in [*texts, *strings]:
        assert matches(others, text) == (text not in strings)
        assert matches(longer, text) == (not text.startswith(tuple(strings)))


def test_few_strings_are_listed() -> None:
    assert listed(search_tree("^(?:ab|c[de]f?)$")) == ["ab", "cd", "cdf", "ce", "cef"]
    assert listed(search_tree("^a*$")) is None
    assert listed(search_tree("^[a-z]$")) is None
