"""Answers that are checked while they grow: driven as the scheduler drives them, token by token, with taking back."""

import json
import random

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radixlang.constrained import mask
from radixlang.constrained.checked import MAX_RESUMES, CheckedGrammar, CheckedMatcher
from radixlang.constrained.constraint import JsonSchema, StructuralTag
from radixlang.constrained.translate import compile_constraint
from radixlang.constrained.vocabulary import Vocabulary

EOS = 0
PIECES = [b'",', b'"]', b'", "', b"aa", b"1,", b'"a"', b'": ', b", ", b"[1", b"]}"]
VOCABULARY = Vocabulary([b"</s>", *(bytes([b]) for b in range(256)), *PIECES], frozenset({EOS}), frozenset({EOS}), 300)
LIKED = {b"a", b"1", b'"', b",", b"]", b"}", b", ", b" ", b"t", *PIECES}

UNIQUE = [
    {"type": "array", "items": {"type": "string", "maxLength": 2}, "uniqueItems": True, "minItems": 3, "maxItems": 4},
    {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 11}, "uniqueItems": True, "minItems": 2},
    {"type": "array", "items": {"type": "string", "pattern": "^a{0,3}$"}, "uniqueItems": True, "maxItems": 3},
    {
        "type": "object",
        "properties": {"t": {"type": "array", "items": {"enum": list("abcdefgh")}, "uniqueItems": True, "minItems": 5}},
        "required": ["t"],
        "additionalProperties": False,
    },
    {
        "type": "array",
        "uniqueItems": True,
        "maxItems": 3,
        "items": {"type": "array", "items": {"type": "integer", "minimum": 1}, "uniqueItems": True, "maxItems": 2},
    },
    {"type": "array", "uniqueItems": True, "maxItems": 3, "items": {"type": ["number", "boolean"]}},
    {
        "$ref": "#/$defs/a",
        "$defs": {"a": {"type": "array", "uniqueItems": True, "items": {"$ref": "#/$defs/a"}, "maxItems": 3}},
    },
]
MARKED = [
    {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 12}, "contains": {"multipleOf": 5}},
    {"type": "array", "items": {"enum": [1, 2, 3]}, "maxItems": 6, "contains": {"const": 1}, "maxContains": 2},
    {"type": "object", "additionalProperties": {"const": 1}, "minProperties": 2, "propertyNames": {"pattern": "^a+$"}},
    {
        "type": "object",
        "oneOf": [
            {"properties": {"a": {"type": "array", "items": {"const": 1}}}, "required": ["a"]},
            {"properties": {"t": {"type": "array", "items": {"const": "a"}}}, "required": ["t"]},
        ],
        "properties": {"a": True, "t": True},
        "additionalProperties": False,
    },
    {
        "type": "object",
        "properties": {"a": {"enum": [1, 11]}, "t": {"type": "array", "items": {"enum": [1, 11]}, "maxItems": 3}},
        "required": ["a", "t"],
        "additionalProperties": False,
        "anyOf": [
            {"properties": {"a": {"const": 1}, "t": {"uniqueItems": True}}},
            {"properties": {"a": {"const": 11}}},
        ],
    },
    {"type": ["integer", "number"], "minimum": 0, "maximum": 12, "not": {"type": "integer"}},
]
VERIFIED = [
    {
        "type": "array",
        "contains": {"const": 1},
        "items": {"type": "integer", "minimum": 0, "maximum": 3},
        "maxItems": 3,
    },
    {"type": "array", "items": {"enum": [1, 11, 111]}, "minItems": 2, "maxItems": 3, "contains": {"const": 111}},
    {"oneOf": [{"type": "integer", "minimum": 0, "multipleOf": 3}, {"type": "integer", "minimum": 0, "multipleOf": 2}]},
]


def drive(matcher: CheckedMatcher, seed: int, max_tokens: int = 200, *, by_copies: bool = False) -> tuple[bytes, str]:
    """An answer at random, and how it ended: stop, length or the error's code. by_copies: copies fill the masks."""
    rng = random.Random(seed)
    row = mask.allocate(1, VOCABULARY.words)[0]
    written: list[int] = []
    told = 0
    while len(written) < max_tokens:
        if matcher.take_back:
            del written[len(written) - matcher.take_back :]
            assert told <= len(written), "what was told is taken back"
            matcher.rollback(matcher.take_back)
            assert not matcher.take_back
        told = max(told, len(written) - matcher.num_open)
        if matcher.is_finished:
            return VOCABULARY.join(written), "stop"
        if matcher.error is not None:
            return VOCABULARY.join(written), matcher.error_code
        (matcher.copy() if by_copies else matcher).fill(row)
        allowed = mask.to_ids(row)
        if not allowed:
            if by_copies:
                matcher.fill(row)
            continue
        if EOS in allowed and (len(allowed) == 1 or rng.random() < 0.5):
            assert matcher.accept(EOS)
            return VOCABULARY.join(written), "stop"
        liked = [t for t in allowed if VOCABULARY.token_bytes[t] in LIKED]
        token_id = rng.choice(liked or [t for t in allowed if t != EOS])
        assert matcher.would_accept([token_id]) == 1
        assert matcher.accept(token_id)
        written.append(token_id)
    return VOCABULARY.join(written), "length"


@pytest.mark.parametrize("schema", UNIQUE, ids=lambda s: json.dumps(s)[:60])
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_items_are_distinct_whatever_is_drawn(schema, seed: int) -> None:
    grammar = compile_constraint(JsonSchema(json.dumps(schema)), VOCABULARY)
    assert isinstance(grammar, CheckedGrammar)
    text, ended = drive(grammar.matcher(), seed)
    assert ended in ("stop", "length")
    if ended == "stop":
        jsonschema.validate(json.loads(text), schema)


@pytest.mark.parametrize("schema", MARKED, ids=lambda s: json.dumps(s)[:60])
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_what_is_drawn_is_valid_or_not_complete(schema, seed: int) -> None:
    grammar = compile_constraint(JsonSchema(json.dumps(schema)), VOCABULARY)
    assert isinstance(grammar, CheckedGrammar)
    text, ended = drive(grammar.matcher(), seed)
    if ended == "stop":
        jsonschema.validate(json.loads(text), schema)


@pytest.mark.parametrize("schema", VERIFIED, ids=lambda s: json.dumps(s)[:60])
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_verified_answer_is_valid_or_none(schema, seed: int) -> None:
    grammar = compile_constraint(JsonSchema(json.dumps(schema), on_unsupported="verify"), VOCABULARY)
    text, ended = drive(grammar.matcher(), seed)
    if ended == "stop":
        jsonschema.validate(json.loads(text), schema)
    else:
        assert ended in ("length", "constraint_failed")


@pytest.mark.parametrize("schema", [*UNIQUE, *MARKED, *VERIFIED], ids=lambda s: json.dumps(s)[:60])
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_an_answer_is_the_same_whoever_filled_its_masks(schema, seed: int) -> None:
    """Those behind a draft's tokens are filled by a copy."""
    grammar = compile_constraint(JsonSchema(json.dumps(schema), on_unsupported="verify"), VOCABULARY)
    assert drive(grammar.matcher(), seed, by_copies=True) == drive(grammar.matcher(), seed)


def test_what_nothing_satisfies_ends_after_so_many_attempts() -> None:
    schema = {"type": "array", "items": {"enum": [1, 2]}, "maxItems": 2, "contains": {"const": 3}}
    grammar = compile_constraint(JsonSchema(json.dumps(schema), on_unsupported="verify"), VOCABULARY)
    assert {drive(grammar.matcher(), seed, 4 * MAX_RESUMES)[1] for seed in range(4)} == {"constraint_failed"}


def test_where_no_distinct_item_is_left_the_answer_fails_and_says_so() -> None:
    two = {"anyOf": [{"type": "string", "pattern": "^[ab]$"}, {"type": "string", "pattern": "^[ba]$"}]}
    schema = {"type": "array", "items": two, "uniqueItems": True, "minItems": 3}
    grammar = compile_constraint(JsonSchema(json.dumps(schema)), VOCABULARY)
    assert drive(grammar.matcher(), 0, 1000)[1] == "constraint_failed"


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), ahead=st.integers(1, 12))
def test_taking_back_is_the_inverse_of_accepting_and_copies_are_apart(seed: int, ahead: int) -> None:
    rng = random.Random(seed)
    matcher = compile_constraint(JsonSchema(json.dumps(UNIQUE[rng.randrange(len(UNIQUE))])), VOCABULARY).matcher()
    row = mask.allocate(1, VOCABULARY.words)[0]
    seen: list[list[int]] = []
    written: list[int] = []
    for _ in range(ahead):
        matcher.fill(row)
        allowed = mask.to_ids(row)
        rest = [t for t in allowed if t != EOS]
        if matcher.take_back or not rest:
            break
        copy = matcher.copy()
        copy.fill(row)
        assert mask.to_ids(row) == allowed
        token_id = rng.choice(rest)
        assert matcher.accept(token_id)
        if matcher.take_back:
            matcher.rollback(matcher.take_back)
            break
        copy.fill(row)
        assert mask.to_ids(row) == allowed
        seen.append(allowed)
        written.append(token_id)
    back = rng.randint(0, len(written))
    matcher.rollback(back)
    if back:
        matcher.fill(row)
        assert mask.to_ids(row) == seen[len(written) - back]
    for token_id in written[len(written) - back :]:
        assert matcher.accept(token_id)
        assert not matcher.take_back


@pytest.mark.parametrize("schema", [*UNIQUE, *MARKED], ids=lambda s: json.dumps(s)[:60])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_copy_may_be_taken_at_any_place(schema, seed: int) -> None:
    """As the search for a completion does, which copies where the document has just ended, too."""
    rng = random.Random(seed)
    matcher = compile_constraint(JsonSchema(json.dumps(schema)), VOCABULARY).matcher()
    row = mask.allocate(1, VOCABULARY.words)[0]
    for _ in range(60):
        if matcher.take_back:
            matcher.rollback(matcher.take_back)
        copy = matcher.copy()
        matcher.fill(row)
        allowed = mask.to_ids(row)
        copy.fill(row)
        assert mask.to_ids(row) == allowed
        rest = [t for t in allowed if t != EOS]
        if matcher.is_finished or not rest:
            break
        liked = [t for t in rest if VOCABULARY.token_bytes[t] in LIKED]
        assert matcher.accept(rng.choice(liked or rest))
    assert matcher.copy().is_finished == matcher.is_finished


def test_a_draft_is_cut_where_an_item_would_repeat() -> None:
    matcher = compile_constraint(JsonSchema(json.dumps(UNIQUE[1])), VOCABULARY).matcher()
    ids = [1 + b for b in b"[1, 2, 1, 3]"]
    assert matcher.would_accept(ids) == len("[1, 2, 1")
    assert matcher.would_accept([1 + b for b in b"[1, 2, 3]"]) == len("[1, 2, 3]")


DISTINCT = {
    "type": "array",
    "items": {"type": "integer", "minimum": 0, "maximum": 30},
    "uniqueItems": True,
    "minItems": 3,
}
FREE = {"type": "array", "items": {"type": "string", "maxLength": 3}, "maxItems": 3}
TAGGED = {
    "triggers": ["<"],
    "structures": [
        {"begin": "<u>", "schema": {"type": "object", "properties": {"l": DISTINCT}, "required": ["l"]}, "end": "</u>"},
        {"begin": "<f>", "schema": FREE, "end": "</f>"},
        {"begin": "<n>", "schema": {"type": "integer"}, "end": "</n>"},
    ],
}


def allowed(text: str) -> int:
    grammar = compile_constraint(StructuralTag(json.dumps(TAGGED)), VOCABULARY)
    return grammar.matcher().would_accept([1 + b for b in text.encode()])


def test_items_are_distinct_in_the_tags_that_say_so_and_nowhere_else() -> None:
    whole = 'say [1, 1]: <f>["a", "a"]</f> <n>5</n><u>{"l": [1, 2, 3]}</u> or <u>{"l": [1, 2, 3]}</u>!'
    assert allowed(whole) == len(whole)
    wrong = '<f>["<u>", "a"]</f><u>{"l": [1, 12, 1, 3]}</u>'
    assert allowed(wrong) == wrong.index(", 3")


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_tag_drawn_at_random_holds_distinct_items(seed: int) -> None:
    matcher = compile_constraint(StructuralTag(json.dumps(TAGGED)), VOCABULARY).matcher()
    for byte in b'ok <u>{"l": ':
        assert matcher.accept(1 + byte)
    assert matcher.num_open == 0
    rng = random.Random(seed)
    row = mask.allocate(1, VOCABULARY.words)[0]
    written: list[int] = []
    while len(written) < 120 and b"</u>" not in VOCABULARY.join(written):
        if matcher.take_back:
            del written[len(written) - matcher.take_back :]
            matcher.rollback(matcher.take_back)
        matcher.fill(row)
        rest = [t for t in mask.to_ids(row) if t != EOS]
        if not rest:
            continue
        liked = [t for t in rest if VOCABULARY.token_bytes[t] in LIKED | {b"</u>", b"<", b"/"}]
        token_id = rng.choice(liked or rest)
        assert matcher.accept(token_id)
        written.append(token_id)
    text = VOCABULARY.join(written)
    if b"</u>" in text and not matcher.take_back:
        jsonschema.validate(json.loads(b'{"l": ' + text.split(b"</u>")[0])["l"], DISTINCT)
