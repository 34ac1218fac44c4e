import json
import random

import llguidance
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
        ("panic: assertion failed: grammar.symbols.len() < u16::MAX as usize - 10", GrammarTooLarge),
        ("lark grammar too deeply nested (at T23)", GrammarTooLarge),
    ],
)
def test_the_engines_words_become_our_errors(message: str, kind: type) -> None:
    assert type(error_of(message)) is kind


SCHEMAS = [
    {"type": "object", "properties": {"a": {"type": "string", "maxLength": 4}, "b": {"enum": ["x", 1, None]}}},
    {"type": "array", "items": {"type": ["number", "string", "boolean"]}, "maxItems": 3},
    {"type": "string", "pattern": "^[a-c]{2,5}$"},
    {"type": "object", "additionalProperties": {"type": "integer"}},
]
REGEXES = ["(ab|abc)+d?", "[^a-z]{1,3}(the|and)*", "\\d{2}-.{0,4}", "\u4e2d?[\u4e00-\u9fa5]{1,3}."]


def sources() -> list[str]:
    schemas = [llguidance.LLMatcher.grammar_from_json_schema(json.dumps(schema)) for schema in SCHEMAS]
    return schemas + [llguidance.LLMatcher.grammar_from_regex(regex) for regex in REGEXES]


@given(st.sampled_from(sources()), st.integers(0, 2**32))
@settings(deadline=None, max_examples=60)
def test_masks_of_text_alone_need_no_sifting(vocabulary, source: str, seed: int) -> None:
    """The engine's row is taken as it is where nothing can name a special token: the same bits as sifted."""
    rng = random.Random(seed)
    plain = GuidanceGrammar(source, vocabulary).matcher()
    sifted = GuidanceGrammar(source, vocabulary, may_name_tokens=True).matcher()
    rows = mask.allocate(3, vocabulary.words)
    kept = rows[0]
    for place in range(12):
        rows[:2] = rng.choice([0, 0xFFFFFFFF])  # what stood in a row before does not matter,
        plain.fill(kept if place % 3 else rows[0])  # nor whether it is the array of the time before
        sifted.fill(rows[1])
        assert mask.to_ids(rows[0]) == mask.to_ids(rows[1])
        assert plain.error == sifted.error is None
        assert mask.allows(rows[0], 0) == plain.is_accepting
        texts = [t for t in mask.to_ids(rows[0]) if vocabulary.is_text(t)]
        if not texts:
            break
        token_id = rng.choice(texts)
        assert plain.accept(token_id)
        assert sifted.accept(token_id)
        assert plain.is_finished == sifted.is_finished


def test_masks_likely_stay_the_same_behind_plain_text_in_a_string(compiler, vocabulary) -> None:
    row = mask.allocate(1, vocabulary.words)[0]
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
    }
    matcher = compiler.compile(JsonSchema(json.dumps(schema))).matcher()
    kept = 0
    for token_id in ids(vocabulary, '{"a": "hello the world", "b": 12'):
        matcher.fill(row)
        before, may_keep = row.copy(), matcher.may_keep(token_id)
        assert matcher.accept(token_id)
        matcher.fill(row)
        is_same = bool((before == row).all())
        assert is_same or not may_keep
        kept += may_keep
    assert kept >= 3
    assert not matcher.may_keep(ids(vocabulary, "1")[0])
