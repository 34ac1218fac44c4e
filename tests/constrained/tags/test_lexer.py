import pytest

from radixlang.constrained.fsm.pattern import parse
from radixlang.constrained.tags.body import Body, Document, Lexeme, Text, Token, alt, repeat, seq
from radixlang.constrained.tags.lexer import is_greed_harmless
from radixlang.errors import GrammarTooLarge

INTEGER = Document("j0", b"-0123456789", b"0123456789")
OBJECT = Document("j1", b"{", b"")


def rx(pattern: str) -> Lexeme:
    return Lexeme(parse(pattern))


@pytest.mark.parametrize(
    ("body", "is_harmless"),
    [
        (seq(rx("[^<]*"), Text("<")), True),
        (seq(rx("[^<]*"), Text("é")), False),
        (seq(rx("[à-è]*"), Text("é")), False),  # they begin with the same byte
        (seq(rx("[^<]*>"), Text("b")), False),
        (seq(rx("[^<]*>"), Text("<")), True),
        (repeat(rx("ab|a"), 1, None), True),
        (seq(alt(Text("a"), Text("ab")), Text("bc")), False),
        (seq(alt(Text("a"), Text("ab")), Text("c")), True),
        (seq(rx("[0-9]+"), INTEGER), False),
        (seq(INTEGER, rx("[0-9]+")), False),
        (seq(INTEGER, Lexeme(parse(".+"), is_free=True)), True),
        (seq(INTEGER, Text(".5")), True),
        (alt(OBJECT, Text("{")), False),
        (alt(OBJECT, INTEGER, Text("a")), True),
        (seq(rx("a*"), Token(5, "<x>"), rx("a*")), True),
        (repeat(seq(rx("a*"), repeat(Token(5, "<x>"), 0, 1)), 0, None), False),
        # texts beside a pattern, those that may meet it and those that cannot
        (seq(alt(rx("[a-c]x*"), Text("de")), Text("x")), False),
        (seq(alt(rx("[a-c]x"), Text("bxy"), Text("de")), Text("y")), False),
        (seq(alt(rx("[a-c]x"), Text("bxy"), Text("de")), Text("z")), True),
        (seq(alt(rx("[a-c]x"), Text("de"), Text("dey")), Text("y")), False),
        (seq(alt(rx("[a-c]x"), Text("de"), Text("dey")), Text("z")), True),
    ],
)
def test_whether_greed_is_harmless(body: Body, is_harmless: bool) -> None:
    assert is_greed_harmless(body) is is_harmless


def test_thousands_of_texts_may_stand_beside_a_pattern_that_they_cannot_meet() -> None:
    texts = [seq(Text(f"<tool number {n} of several thousand>"), INTEGER) for n in range(3000)]
    assert is_greed_harmless(alt(rx(r"[^<](?:.|\n)*"), *texts))


def test_what_takes_too_long_to_say_is_refused() -> None:
    with pytest.raises(GrammarTooLarge):
        is_greed_harmless(seq(rx("(?:[a-z]|[a-f]x){1,2000}A"), Text("x")))
