import pytest

from radixlang.constrained import mask
from radixlang.constrained.constraint import Grammar, JsonSchema
from radixlang.constrained.guidance import GuidanceGrammar, error_of
from radixlang.errors import GrammarSyntaxError, GrammarTooLarge, UnsatisfiableGrammar

SCHEMA = JsonSchema('{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]}')


def ids(vocabulary, text: str) -> list[int]:
    return vocabulary.tokenize(text.encode())


def test_an_illegal_token_changes_nothing(compiler, vocabulary) -> None:
    matcher = compiler.compile(SCHEMA).matcher()
    for token_id in (*ids(vocabulary, "x"), 0, 1, 2, vocabulary.size - 1, vocabulary.size + 5, -1):
        assert not matcher.accept(token_id)
        assert matcher.error is None
    assert all(matcher.accept(t) for t in ids(vocabulary, '{"a": 1'))


def test_an_end_is_accepted_exactly_when_complete_and_can_be_taken_back(compiler, vocabulary) -> None:
    matcher = compiler.compile(SCHEMA).matcher()
    row = mask.allocate(1, vocabulary.words)[0]
    for token_id in ids(vocabulary, '{"a": 12}'):
        assert not matcher.is_accepting
        assert not matcher.accept(0)
        assert matcher.accept(token_id)
    assert matcher.is_accepting
    assert matcher.is_finished
    assert matcher.accept(0)
    matcher.fill(row)
    assert mask.to_ids(row) == [0]
    matcher.rollback(2)
    assert not matcher.is_accepting
    matcher.fill(row)
    assert not mask.allows(row, 0)


def test_special_tokens_stand_only_where_a_grammar_names_them(compiler, vocabulary) -> None:
    row = mask.allocate(1, vocabulary.words)[0]
    matcher = compiler.compile(Grammar('start: "a" <|special|> "b"', "lark")).matcher()
    assert matcher.accept(ids(vocabulary, "a")[0])
    matcher.fill(row)
    assert mask.to_ids(row) == [1]
    assert matcher.would_accept([1, *ids(vocabulary, "b"), 0]) == 3
    plain = compiler.compile(Grammar('start: "a" /(.|\\n)*/', "lark")).matcher()
    assert plain.accept(ids(vocabulary, "a")[0])
    plain.fill(row)
    assert not mask.allows(row, 1)


def test_a_matcher_over_the_engines_limits_says_so_and_stays_quiet(vocabulary) -> None:
    grammar = GuidanceGrammar('{"grammars":[{"lark_grammar":"start: /[^\\\\s\\\\S]/"}]}', vocabulary)
    matcher = grammar.matcher()
    row = mask.allocate(1, vocabulary.words)[0]
    matcher.fill(row)
    assert matcher.error
    assert not row.any()
    assert not matcher.accept(5)
    assert matcher.forced() == []


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Unsatisfiable schema: x", UnsatisfiableGrammar),
        ("schema too large", GrammarTooLarge),
        ("Parser Error: Current row has 5207 items; max is 5000; consider", GrammarTooLarge),
        ("lexer error: too many expressions", GrammarTooLarge),
        ("unknown name", GrammarSyntaxError),
    ],
)
def test_the_engines_words_become_our_errors(message: str, kind: type) -> None:
    assert type(error_of(message)) is kind
