import random

import numpy as np
import pytest

from radixlang.constrained import mask
from radixlang.constrained.constraint import Choice, Constraint, Grammar, Healed, JsonSchema, Regex
from radixlang.constrained.prefix import PrefixMatcher
from radixlang.constrained.vocabulary import Vocabulary

CONSTRAINTS: list[Constraint | None] = [
    None,
    Regex("(the|abc|[0-9]{2,4})(true|中文)?"),
    Choice(("abc", "bab", "the word")),
    JsonSchema('{"type":"object","properties":{"word":{"type":"integer"}},"required":["word"]}'),
    Grammar('root ::= "a" root "b" | "ab" | "12"'),  # recursive: llguidance's
]
PREFIXES = [b'"', b" ", b"a", b"ab", "中".encode(), b"the", b"\n", b"1", b"<t", b"trueand"]


@pytest.fixture(params=CONSTRAINTS, ids=str)
def start(request, compiler):
    """A new matcher of the constraint behind a prefix; None: of no constraint."""

    def make():
        return None if request.param is None else compiler.compile(request.param).matcher()

    return make


def allows(vocabulary: Vocabulary, prefix: bytes, inner, text: bytes) -> bool:
    """By definition: `text` begins the prefix, no shorter than its first token, or goes on as the constraint allows."""
    if prefix.startswith(text):
        return len(text) >= len(vocabulary.token_bytes[vocabulary.tokenize(prefix)[0]])
    rest = vocabulary.trie.tokenize(text[len(prefix) :])
    return text.startswith(prefix) and (inner is None or inner.would_accept(rest) == len(rest))


@pytest.mark.parametrize("prefix", PREFIXES)
def test_the_mask_is_what_the_definition_allows(vocabulary: Vocabulary, start, prefix: bytes) -> None:
    matcher = PrefixMatcher(vocabulary, prefix, start())
    row = mask.allocate(1, vocabulary.words)[0]
    matcher.fill(row)
    found = set(mask.to_ids(row))
    expected = {
        t
        for t in range(len(vocabulary.token_bytes))
        if vocabulary.is_text(t) and allows(vocabulary, prefix, start(), vocabulary.token_bytes[t])
    }
    assert found == expected
    for token_id in range(vocabulary.size):
        assert matcher.would_accept([token_id]) == (token_id in expected)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_answers_are_the_prefix_and_then_an_answer(vocabulary: Vocabulary, start, accepts, prefix: bytes) -> None:
    row = mask.allocate(1, vocabulary.words)[0]
    for seed in range(6):
        rng, matcher, token_ids = random.Random(seed), PrefixMatcher(vocabulary, prefix, start()), []
        while not (matcher.is_through and matcher.is_accepting) and len(token_ids) < 40:
            before = row.copy()
            matcher.fill(before)
            token_id = rng.choice([t for t in mask.to_ids(before) if vocabulary.is_text(t)])
            other = matcher.copy()
            assert matcher.accept(token_id)
            matcher.rollback(1)
            matcher.fill(row)
            assert np.array_equal(row, before)  # taking back is undoing
            assert matcher.accept(token_id)
            assert other.accept(token_id)
            assert other.is_accepting == matcher.is_accepting
            token_ids.append(token_id)
        text = vocabulary.join(token_ids)
        assert text.startswith(prefix)
        inner = start()
        if inner is not None and matcher.is_accepting:
            rest = vocabulary.trie.tokenize(text[len(prefix) :])
            assert inner.would_accept(rest) == len(rest)
        assert matcher.would_accept([min(vocabulary.eos_token_ids)]) == matcher.is_accepting


def test_an_end_of_sequence_waits_for_the_prefix(vocabulary: Vocabulary, compiler) -> None:
    matcher = PrefixMatcher(vocabulary, b"ab", compiler.compile(Regex("(12)?")).matcher())
    assert not matcher.accept(min(vocabulary.eos_token_ids))
    assert not matcher.is_accepting
    assert matcher.accept(vocabulary.tokenize(b"ab")[0])
    assert matcher.is_through
    assert matcher.is_accepting


def test_a_compiled_one_remembers_its_first_mask_and_nothing_else(vocabulary: Vocabulary, compiler) -> None:
    grammar = compiler.compile(Healed("a", Regex("b(12|ab)")))
    plain = PrefixMatcher(vocabulary, b"a", compiler.compile(Regex("b(12|ab)")).matcher())
    one, other = mask.allocate(2, vocabulary.words)
    for matcher in (grammar.matcher(), grammar.matcher(max_tokens=9)):
        while not matcher.is_accepting:
            matcher.fill(one)
            plain.fill(other)
            assert np.array_equal(one, other)
            token_id = mask.to_ids(one)[-1]
            assert matcher.accept(token_id)
            assert plain.accept(token_id)
        plain = PrefixMatcher(vocabulary, b"a", compiler.compile(Regex("b(12|ab)")).matcher())
