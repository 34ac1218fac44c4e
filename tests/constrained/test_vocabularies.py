"""Masks over vocabularies of every kind, against brute force: each id of the row is tried."""

import json
import random

import pytest

from radixlang.constrained import mask
from radixlang.constrained.constraint import Choice, Grammar, JsonObject, JsonSchema, Regex, StructuralTag
from radixlang.constrained.translate import compile_constraint
from radixlang.constrained.vocabulary import Vocabulary

BYTES = [bytes([b]) for b in range(256)]
WORDS = ["a", "b", "ab", "the", "12", '{"', '"}', '": ', ", ", "true", "é", "中", "[1", "x1", "yes", "no"]


def sentence_pieces() -> Vocabulary:
    """As SentencePiece lays it out: control tokens, bytes for what has no piece, and pieces with a space in front.

    A byte and a piece of one letter are two ids of the same text.
    """
    pieces = [" " + word for word in WORDS] + WORDS + ["  ", " "]
    texts = [b"<unk>", b"<s>", b"</s>", *BYTES, *(p.encode() for p in pieces)]
    return Vocabulary(texts, frozenset({2}), frozenset({0, 1, 2}), len(texts))


def byte_level() -> Vocabulary:
    """Bytes and merges, added tokens behind them, one of them text; rows padded to a multiple of 64; two ends."""
    merges = [w.encode() for w in WORDS] + [b"\xe4\xb8", b"a\xc3", b"\xad"]
    added = [b"<|im_start|>", b"<|im_end|>", b"<|endoftext|>", b"<added text>", b""]
    texts = [*BYTES, *merges, *added]
    first = len(BYTES) + len(merges)
    ends = frozenset({first + 1, first + 2})
    return Vocabulary(texts, ends, ends | {first}, -(-len(texts) // 64) * 64 + 64)


def words_only() -> Vocabulary:
    """Few bytes are tokens by themselves: texts that no tokens spell are dead ends and must never be entered."""
    texts = [
        b"<e>",
        b"a",
        b"ab",
        b"abc",
        b"12",
        b"345",
        b'"',
        b"{",
        b"}",
        b"[",
        b"]",
        b": ",
        b", ",
        b"true",
        b"yes",
        b"no",
    ]
    return Vocabulary(texts, frozenset({0}), frozenset({0}), len(texts))


VOCABULARIES = {"sentence pieces": sentence_pieces(), "byte level": byte_level(), "words only": words_only()}
TAGS = {"triggers": ["<a"], "structures": [{"begin": "<a>", "schema": {"enum": [1, 12]}, "end": "</a>"}]}
CONSTRAINTS = {
    "regex": Regex(r"(?:ab|a|[0-9]{2,3}){1,4}"),
    "characters of several bytes": Regex("[é中]{1,2}a?"),
    "choices": Choice(("yes", "no", "abab", "12345")),
    "any object": JsonObject(),
    "schema": JsonSchema(json.dumps({"type": "array", "items": {"enum": [12, 345, "abc", True]}, "maxItems": 3})),
    "grammar": Grammar('root ::= "[" root "]" | "ab" | "12"'),
    "tags": StructuralTag(json.dumps(TAGS)),
}
SPELLED = {"regex", "choices", "schema", "grammar"}  # by words only


@pytest.mark.parametrize("name", CONSTRAINTS)
@pytest.mark.parametrize("kind", VOCABULARIES)
def test_a_row_allows_exactly_what_may_be_accepted(kind: str, name: str) -> None:
    vocabulary = VOCABULARIES[kind]
    if kind == "words only" and name not in SPELLED:
        pytest.skip("these words do not spell it")
    grammar = compile_constraint(CONSTRAINTS[name], vocabulary)
    row = mask.allocate(1, vocabulary.words)[0]
    for seed in range(3):
        rng = random.Random(seed)
        matcher = grammar.matcher()
        for _ in range(10):
            matcher.fill(row)
            allowed = set(mask.to_ids(row))
            accepted = {t for t in range(vocabulary.words * 32) if matcher.would_accept([t]) == 1}
            forced = matcher.forced()[:1]
            # Where the text is forced, llguidance's row may hold the canonical token alone.
            assert allowed == accepted or (allowed == set(forced) and allowed <= accepted)
            assert all(vocabulary.is_text(t) or t in vocabulary.eos_token_ids for t in allowed)
            assert (allowed & vocabulary.eos_token_ids == vocabulary.eos_token_ids) == matcher.is_accepting
            assert matcher.is_accepting or not allowed & vocabulary.eos_token_ids
            for token_id in rng.sample(sorted(accepted), min(4, len(accepted))):
                copy = matcher.copy()
                assert copy.accept(token_id)
                copy.rollback(1)
                copy.fill(row)
                assert set(mask.to_ids(row)) == allowed
            rest = sorted(allowed - vocabulary.eos_token_ids)
            if not rest:
                break
            assert matcher.accept(rng.choice(rest))


@pytest.mark.parametrize("name", ["regex", "schema", "grammar"])
def test_ids_of_the_same_text_are_allowed_together(name: str) -> None:
    vocabulary = VOCABULARIES["sentence pieces"]
    same: dict[bytes, set[int]] = {}
    for token_id, text in enumerate(vocabulary.token_bytes):
        if vocabulary.is_text(token_id):
            same.setdefault(text, set()).add(token_id)
    twins = [ids for ids in same.values() if len(ids) > 1]
    assert twins
    matcher = compile_constraint(CONSTRAINTS[name], vocabulary).matcher()
    row = mask.allocate(1, vocabulary.words)[0]
    for _ in range(6):
        matcher.fill(row)
        allowed = set(mask.to_ids(row))
        if not matcher.forced():
            assert all(ids <= allowed or not ids & allowed for ids in twins)
        rest = sorted(allowed - vocabulary.eos_token_ids)
        if not rest:
            break
        assert matcher.accept(rest[-1])


@pytest.mark.parametrize("kind", VOCABULARIES)
def test_an_answer_never_enters_a_dead_end(kind: str) -> None:
    vocabulary = VOCABULARIES[kind]
    # Without single bytes only our automata know what tokens can spell; llguidance's matcher then says its error.
    for name in ["regex", "choices"] if kind == "words only" else sorted(SPELLED):
        grammar = compile_constraint(CONSTRAINTS[name], vocabulary)
        row = mask.allocate(1, vocabulary.words)[0]
        for seed in range(10):
            rng = random.Random(seed)
            matcher = grammar.matcher()
            for _ in range(30):
                matcher.fill(row)
                allowed = mask.to_ids(row)
                assert allowed, (name, matcher.error)
                rest = [t for t in allowed if t not in vocabulary.eos_token_ids]
                if not rest:
                    break
                assert matcher.accept(rng.choice(rest))
