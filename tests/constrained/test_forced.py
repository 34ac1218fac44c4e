import pytest

from radixlang.constrained import mask
from radixlang.constrained.constraint import Choice, JsonSchema, Regex
from radixlang.constrained.forced import canonical_prefix, heal
from radixlang.constrained.vocabulary import Vocabulary

CONSTRAINTS = [
    Regex("hello the word (true|false)"),
    Regex("中文(中|日本)"),
    Regex("the"),
    Choice(("hello the", "hello then")),
    JsonSchema(
        '{"type":"object","properties":{"word":{"type":"integer"},"the":{"enum":["abc"]}},"required":["word","the"]}'
    ),
]


@pytest.mark.parametrize("constraint", CONSTRAINTS, ids=str)
def test_forced_tokens_are_allowed_and_nothing_else_could_be_written(compiler, vocabulary, draw, constraint) -> None:
    grammar = compiler.compile(constraint)
    texts = {draw(grammar, seed)[0] for seed in range(12)}
    row = mask.allocate(1, vocabulary.words)[0]
    matcher = grammar.matcher()
    written = b""
    for _ in range(30):
        forced = matcher.forced()
        for token_id in forced:
            matcher.fill(row)
            assert mask.allows(row, token_id)
            assert matcher.accept(token_id)
            written += vocabulary.token_bytes[token_id]
            if not written.startswith(tuple(texts)):
                assert any(text.startswith(written) for text in texts)
        matcher.fill(row)
        rest = [t for t in mask.to_ids(row) if vocabulary.is_text(t)]
        if not rest or matcher.is_accepting:
            break
        follows = [t for t in rest if any(text.startswith(written + vocabulary.token_bytes[t]) for text in texts)]
        if not follows:
            break
        assert matcher.accept(follows[0])
        written += vocabulary.token_bytes[follows[0]]


def test_a_token_that_could_merge_with_what_follows_is_not_forced(compiler, vocabulary) -> None:
    grammar = compiler.compile(Regex("ab(ab|c)"))  # "ab" may become "abab" or "abc"
    assert grammar.matcher().forced() == []
    whole = compiler.compile(Regex("abab"))
    assert vocabulary.join(whole.matcher().forced()) == b"abab"


def test_half_a_character_is_not_forced(vocabulary: Vocabulary) -> None:
    assert canonical_prefix(vocabulary, b"the\xe4", [b"\xb8"]) == []
    assert vocabulary.join(canonical_prefix(vocabulary, b"the\xe4\xb8\xad", [])) == "the中".encode()


def test_healing_gives_up_what_longer_tokens_begin_with(vocabulary: Vocabulary) -> None:
    prompt = vocabulary.tokenize(b"the") + vocabulary.tokenize(b'"')
    token_bytes = vocabulary.token_bytes.__getitem__
    # '": "' and others begin with the quote, nothing with 'the"'
    assert heal(vocabulary.pieces, token_bytes, prompt) == (1, '"')
    assert heal(vocabulary.pieces, token_bytes, [1]) == (0, "")  # a special token is never given up
    assert heal(vocabulary.pieces, token_bytes, vocabulary.tokenize("😀".encode())) == (0, "")
    half = vocabulary.tokenize(b"\xc3")
    assert heal(vocabulary.pieces, token_bytes, vocabulary.tokenize(b"the") + half) == (0, "")
