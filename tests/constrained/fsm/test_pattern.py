import re
import sys

import pytest

from radixlang.constrained.constraint import Regex
from radixlang.constrained.fsm.pattern import (
    EMPTY,
    END,
    START,
    Alt,
    Chars,
    Repeat,
    Seq,
    has_look,
    parse,
    read_tree,
    shortest_len,
)
from radixlang.errors import GrammarSyntaxError, GrammarTooLarge, UnsatisfiableGrammar, UnsupportedGrammar


@pytest.mark.parametrize("pattern", ["^a$", r"\Aa\Z", "^(?:a|b)$", "^a|^b", "a$|b$", "(^a$)"])
def test_anchors_that_a_full_match_satisfies_are_dropped(pattern: str) -> None:
    assert not has_look(parse(pattern))


@pytest.mark.parametrize("pattern", ["a^b", "a$b", r"\ba", "(?=a).", "(?m)a$b", "(?<=a)b"])
def test_others_stay(pattern: str) -> None:
    assert has_look(parse(pattern))


def test_anchors_alone_match_the_empty_string() -> None:
    assert parse("^$") == EMPTY
    assert read_tree("^").ranges if hasattr(read_tree("^"), "ranges") else read_tree("^") == START
    assert read_tree(r"\Z") == END


@pytest.mark.parametrize(("pattern", "column"), [("([a", 2), ("a**", 3), ("(", 1), ("[b-a]", 2), ("a\n(b", None)])
def test_syntax_errors_say_where(pattern: str, column: int | None) -> None:
    with pytest.raises(GrammarSyntaxError) as caught:
        parse(pattern)
    assert caught.value.line == pattern.count("\n") + 1
    assert column is None or caught.value.column == column


@pytest.mark.parametrize("pattern", [r"(a)\1", "(?P<x>a)(?P=x)", "(a)?(?(1)b|c)"])
def test_what_is_not_regular_is_refused(pattern: str) -> None:
    with pytest.raises(UnsupportedGrammar) as caught:
        parse(pattern)
    assert caught.value.keyword


@pytest.mark.parametrize("pattern", ["(" * 3000 + ")" * 3000, "a" * 20_001, "a{99999999999}", "(x{400}){400}"])
def test_what_is_too_large_is_refused(pattern: str) -> None:
    with pytest.raises(GrammarTooLarge):
        parse(pattern)


@pytest.mark.parametrize(
    ("pattern", "plain"),
    [
        ("(?:a{2}){3}", "a{6}"),
        ("(?:[ab]{1,40}){10,40}", "[ab]{10,1600}"),
        ("(?:(?:a*)+)?", "a*"),
        ("(?:a+){0}", "a{0}"),
        ("(?:a{2,3}){2,}", "a{4,}"),
        ("(?:ab){1}", "ab"),
    ],
)
def test_a_repetition_of_a_repetition_is_one(pattern: str, plain: str) -> None:
    assert parse(pattern) == parse(plain)


@pytest.mark.parametrize("pattern", ["(?:a{2}){1,3}", "(?:a{4,5}){2,3}", "(?:a{2,3})?", "(?:a{2,})*"])
def test_but_not_where_a_count_between_cannot_be_had(pattern: str) -> None:
    tree = parse(pattern)
    assert isinstance(tree, Repeat)
    assert isinstance(tree.node, Repeat)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="not Python's syntax before")
@pytest.mark.parametrize("pattern", ["(?:a|ab)*+c", "(?>a|ab)c", "(?>a+b|a)c", "(?>a*?)b"])
def test_what_stays_whole_but_has_several_lengths_is_refused(pattern: str) -> None:
    with pytest.raises(UnsupportedGrammar) as caught:
        parse(pattern)
    assert "write it without" in caught.value.message


@pytest.mark.parametrize(
    ("pattern", "shortest"),
    [("", 0), ("a{3,9}b?", 3), ("(ab|c)+", 1), (r"\bword\b", 4), ("(x{30}){30}", 900), (r"[^\s\S]|ab", 2)],
)
def test_the_shortest_text(pattern: str, shortest: int) -> None:
    assert shortest_len(parse(pattern)) == shortest


def test_trees_of_different_kinds_are_not_equal() -> None:
    """As keys of a dictionary `ab` and `a|b` stay two, and the empty text is not the empty language."""
    parts = (Chars(((97, 97),)), Chars(((98, 98),)))
    assert Seq(parts) != Alt(parts)
    assert len({Seq(parts): 1, Alt(parts): 2}) == 2
    assert Seq(()) != Alt(())


@pytest.mark.parametrize("text", ["", "a", "ab", "a ", "  ", " "])
@pytest.mark.parametrize("pattern", [r"\B.*", r".*\B", r".\B.", r"\B", r"(?:a|\B)"])
def test_no_place_of_the_empty_text_is_inside_a_word(compiler, vocabulary, pattern: str, text: str) -> None:
    """As Python has it up to 3.13; later ones match the empty text too, which is then never generated."""
    try:
        grammar = compiler.compile(Regex(pattern))
    except UnsatisfiableGrammar:
        accepted = False
    else:
        token_ids = [*vocabulary.tokenize(text.encode()), min(vocabulary.eos_token_ids)]
        accepted = grammar.matcher().would_accept(token_ids) == len(token_ids)
    assert accepted == (text != "" and re.fullmatch(pattern, text) is not None)
