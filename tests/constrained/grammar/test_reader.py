import pytest

from radixlang.constrained.fsm.pattern import EMPTY, Alt, Chars, Repeat, Seq
from radixlang.constrained.grammar.reader import Ref, read
from radixlang.errors import GrammarSyntaxError, GrammarTooLarge, UnsupportedGrammar


def char(c: str) -> Chars:
    return Chars(((ord(c), ord(c)),))


def test_each_construct_is_read() -> None:
    rules = read(
        """# a comment
        root ::= "ab" x-1 | [a-c\\]^-]  # classes
               | ( 'q' )* y_2?   # over lines
        x-1 ::= "\\n\\x41\\u4e2d\\U0001F600"
        y_2 ::= "" | "z"{2} "z"{1,} "z"{0,3}
        """
    )
    assert list(rules) == ["root", "x-1", "y_2"]
    first, second, third = rules["root"].options
    assert first == Seq((Seq((char("a"), char("b"))), Ref("x-1")))
    assert second == Chars(((45, 45), (93, 94), (97, 99)))
    assert third == Seq((Repeat(char("q"), 0, None), Repeat(Ref("y_2"), 0, 1)))
    assert rules["x-1"] == Seq((char("\n"), char("A"), char("中"), char("😀")))
    assert rules["y_2"] == Alt(
        (EMPTY, Seq((Repeat(char("z"), 2, 2), Repeat(char("z"), 1, None), Repeat(char("z"), 0, 3))))
    )


@pytest.mark.parametrize("text", ["root ::= [^a]", "root ::= ."])
def test_what_is_not_listed_includes_line_ends(text: str) -> None:
    ranges = read(text)["root"].ranges
    assert any(low <= 10 <= high for low, high in ranges)


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("root ::= foo", 1, 10),
        ('root ::= "a', 1, 10),
        ('foo ::= "a"', 1, 1),
        ('root ::= x\nx ::= ("a"', 2, 7),
        ("root ::= [a", 1, 10),
        ("root := 5", 1, 6),
        ('root ::= "a"\nroot ::= "b"', 2, 1),
        ('root ::= "a"{5,2}', 1, 13),
        ("root ::= [b-a]", 1, 11),
        ('root ::= "\\q"', 1, 11),
        ('root ::= "\\xZZ"', 1, 11),
        ('root ::= "a" )', 1, 14),
        ('root ::= "a" "\\uD83D"', 1, 15),
        ('root ::= "\\uDE00"', 1, 11),
        ('root ::= "a\ud83d"', 1, 12),
        ("", 1, 1),
    ],
)
def test_errors_say_where(text: str, line: int, column: int) -> None:
    with pytest.raises(GrammarSyntaxError) as caught:
        read(text)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert caught.value.message.endswith("^")


@pytest.mark.parametrize("text", ["root ::= <token>", 'root ::= "a" (= "b")', "root ::= TagDispatch(())"])
def test_what_is_not_served_is_refused(text: str) -> None:
    with pytest.raises(UnsupportedGrammar):
        read(text)


@pytest.mark.parametrize("text", ["root ::= " + "(" * 60_000, 'root ::= "a"{9999999}', "#" * 2_000_000])
def test_what_is_too_large_is_refused(text: str) -> None:
    with pytest.raises(GrammarTooLarge):
        read(text)


def test_comments_are_read_in_one_way_only():
    """One that could be cut into several would be tried in all of them, time without end."""
    banner = "#" * 2000
    assert read(f'root ::= a {banner}\n{banner}\n\n  # and\n b\na ::= "a" {banner}\nb ::= "b"').keys() == {
        "root",
        "a",
        "b",
    }


def test_a_surrogate_pair_is_one_character():
    smile = read('root ::= "😀"')["root"]
    assert read('root ::= "\\uD83D\\uDE00"')["root"] == read("root ::= [\\uD83D\\uDE00]")["root"] == smile


def test_halves_of_pairs_may_be_excluded():
    assert read("root ::= [^\\uD800-\\uDFFF]")["root"] == read("root ::= .")["root"]
