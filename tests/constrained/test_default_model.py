"""The default model's own vocabulary: 49,152 tokens, canonical encoding, and answers of the real model."""

import json
import random
import re

import jsonschema
import pytest

from radixlang.constrained import mask
from radixlang.constrained.constraint import Choice, Grammar, JsonSchema, Regex
from radixlang.constrained.translate import compile_constraint
from radixlang.constrained.vocabulary import Vocabulary

pytestmark = pytest.mark.model

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
PATTERNS = [
    "[\u4e00-\u9fa5]{2,4}\u3002",
    '"[^"\n]{0,8}"',
    "(?:a|b){5}c?",
    r"\((\d{3})\) \d{3}-\d{4}",
    r"hello the world (yes|no)",
]


@pytest.fixture(scope="module")
def real_vocabulary() -> Vocabulary:
    from radixlang.runtime.store.paths import models_dir
    from radixlang.runtime.tokenizer.open import open_tokenizer

    path = next(models_dir().glob("smollm2-135m-instruct/*.gguf"), None)
    if path is None:
        pytest.skip("the default model is not here")
    tokenizer = open_tokenizer(path)
    pieces = [tokenizer.token_bytes(i) for i in range(tokenizer.vocab_size)]
    size = tokenizer.vocab_size + 128  # as if the model's rows were padded
    eos, special = tokenizer.eos_token_ids, tokenizer.special_token_ids
    return Vocabulary(pieces, eos, special, size, tokenizer.digest, tokenizer.encode_continuation)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_masks_are_those_of_brute_force_over_the_real_vocabulary(real_vocabulary, pattern: str) -> None:
    grammar = compile_constraint(Regex(pattern), real_vocabulary)
    rng = random.Random(0)
    matcher = grammar.matcher()
    row = mask.allocate(1, real_vocabulary.words)[0]
    text = b""
    for _ in range(12):
        matcher.fill(row)
        allowed = set(mask.to_ids(row))
        assert allowed
        assert max(allowed) < len(real_vocabulary.token_bytes)
        assert not allowed & (real_vocabulary.special_token_ids - real_vocabulary.eos_token_ids)
        for token_id in rng.sample(range(len(real_vocabulary.token_bytes)), 2000):
            assert (token_id in allowed) == (matcher.would_accept([token_id]) == 1)
        rest = sorted(allowed - real_vocabulary.eos_token_ids)
        if not rest:
            break
        token_id = rng.choice(rest)
        assert matcher.accept(token_id)
        text += real_vocabulary.token_bytes[token_id]
    if matcher.is_accepting:
        assert re.fullmatch(pattern, text.decode())


@pytest.mark.parametrize(
    "constraint",
    [
        Regex("hello the world (yes|no)"),
        JsonSchema(json.dumps(SCHEMA)),
        Choice(("a long sentence with an end", "a long sentence with a tail")),
    ],
    ids=str,
)
def test_forced_tokens_are_the_canonical_ones(real_vocabulary, constraint) -> None:
    matcher = compile_constraint(constraint, real_vocabulary).matcher()
    forced = matcher.forced()
    assert forced
    assert matcher.would_accept(forced) == len(forced)
    text = real_vocabulary.join(forced).decode()
    assert real_vocabulary.encode(text)[: len(forced)] == forced


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_every_answer_of_the_real_model_obeys(temperature: float) -> None:
    import radixlang as sgl

    engine = sgl.Engine(model_path="smollm2-135m-instruct")
    try:
        for pattern in PATTERNS:
            answer = engine.generate("Value: ", {"temperature": temperature, "max_new_tokens": 64, "regex": pattern})
            assert answer["meta_info"]["finish_reason"]["type"] == "stop"
            assert re.fullmatch(pattern, answer["text"])
        answer = engine.generate(
            "JSON: ", {"temperature": temperature, "max_new_tokens": 100, "json_schema": json.dumps(SCHEMA)}
        )
        jsonschema.validate(json.loads(answer["text"]), SCHEMA)
        grammar = {"ebnf": 'root ::= "(" root ")" | [0-9]{1,3}'}
        answer = engine.generate("Sum: ", {"temperature": temperature, "max_new_tokens": 40, **grammar})
        if answer["meta_info"]["finish_reason"]["type"] == "stop":
            assert re.fullmatch(r"\(*[0-9]{1,3}\)*", answer["text"])
            assert answer["text"].count("(") == answer["text"].count(")")
    finally:
        engine.shutdown()


def test_a_recursive_grammar_is_served_on_the_real_vocabulary(real_vocabulary) -> None:
    grammar = compile_constraint(Grammar('root ::= "(" root ")" | [a-z]+ "x"'), real_vocabulary)
    token_ids = real_vocabulary.tokenize(b"((abcx))")
    eos = min(real_vocabulary.eos_token_ids)
    assert grammar.matcher().would_accept([*token_ids, eos]) == len(token_ids) + 1
