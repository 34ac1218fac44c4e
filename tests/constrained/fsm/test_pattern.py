import pytest

from radixlang.constrained.fsm.pattern import EMPTY, END, START, Alt, Chars, Seq, has_look, parse, read_tree
from radixlang.errors import GrammarSyntaxError, GrammarTooLarge, UnsupportedGrammar


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


@pytest.mark.parametrize("pattern", ["(" * 3000 + ")" * 3000, "a" * 20_001, "a{99999999999}"])
def test_what_is_too_large_is_refused(pattern: str) -> None:
    with pytest.raises(GrammarTooLarge):
        parse(pattern)


def test_trees_of_different_kinds_are_not_equal() -> None:
    """As keys of a dictionary `ab` and `a|b` stay two, and the empty text is not the empty language."""
    parts = (Chars(((97, 97),)), Chars(((98, 98),)))
    assert Seq(parts) != Alt(parts)
    assert len({Seq(parts): 1, Alt(parts): 2}) == 2
    assert Seq(()) != Alt(())
