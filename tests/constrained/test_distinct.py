"""No object that is generated holds a name twice, and nothing else is forbidden."""

import functools
import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radixlang.constrained import mask
from radixlang.constrained.constraint import JsonObject, JsonSchema, StructuralTag
from radixlang.constrained.distinct import DistinctGrammar, Place, after, may_repeat
from radixlang.constrained.translate import compile_constraint
from radixlang.constrained.vocabulary import Vocabulary

OPEN = {"type": "object", "additionalProperties": {"type": ["integer", "object", "array"]}}
BY_PATTERN = {
    "type": "object",
    "patternProperties": {"^[ab]{1,9}$": {"type": "integer"}},
    "additionalProperties": False,
}


def has_repeated(text: str) -> bool:
    found = []

    def pairs(items):
        names = [name for name, _ in items]
        found.append(len(names) != len(set(names)))
        return dict(items)

    json.loads(text, object_pairs_hook=pairs)
    return any(found)


def accepts(grammar, vocabulary, text: str) -> bool:
    token_ids = [*vocabulary.tokenize(text.encode()), min(vocabulary.eos_token_ids)]
    return grammar.matcher().would_accept(token_ids) == len(token_ids)


names = st.sampled_from(["a", "b", "ab", 'a"', "é", "", "\\", "aa"])
documents = st.recursive(
    st.integers(0, 9),
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(names, inner), max_size=4).map(tuple),
    max_leaves=8,
)


def written(value) -> str:
    """Tuples of pairs are objects, which may repeat names."""
    if isinstance(value, tuple):
        members = (f"{json.dumps(name, ensure_ascii=False)}: {written(inner)}" for name, inner in value)
        return "{" + ", ".join(members) + "}"
    return f"[{', '.join(map(written, value))}]" if isinstance(value, list) else json.dumps(value)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(names, documents), max_size=4).map(tuple))
def test_exactly_the_documents_that_repeat_a_name_are_refused(compiler, vocabulary, members):
    text = written(members)
    grammar = compiler.compile(JsonObject())
    assert accepts(grammar.inner, vocabulary, text)
    assert accepts(grammar, vocabulary, text) == (not has_repeated(text))


@pytest.mark.parametrize("schema", [OPEN, BY_PATTERN])
@pytest.mark.parametrize("seed", range(6))
def test_masks_forbid_what_ends_a_repeated_name_and_no_more(compiler, vocabulary, schema, seed):
    grammar = compiler.compile(JsonSchema(json.dumps(schema)))
    assert isinstance(grammar, DistinctGrammar)
    rng = random.Random(seed)
    matcher, place, out, text = grammar.matcher(), Place(), b"", True
    own_W, inner_W = np.zeros(vocabulary.words, np.uint32), np.zeros(vocabulary.words, np.uint32)
    inner = grammar.inner.matcher()
    for _ in range(60):
        matcher.fill(own_W)
        inner.fill(inner_W)
        allowed = [t for t in range(len(vocabulary.token_bytes)) if inner_W[t // 32] >> (t % 32) & 1]
        for t in allowed:
            repeats = vocabulary.is_text(t) and after(place, vocabulary.token_bytes[t]) is None
            assert bool(own_W[t // 32] >> (t % 32) & 1) == (not repeats)
            assert not repeats or matcher.would_accept([t]) == 0
        mine = [t for t in allowed if own_W[t // 32] >> (t % 32) & 1 and vocabulary.is_text(t)]
        text = bool(mine)
        if not text:
            break
        quotes = [t for t in mine if b'"' in vocabulary.token_bytes[t] or vocabulary.token_bytes[t] in (b"a", b"b")]
        token = rng.choice(quotes if quotes and rng.random() < 0.8 else mine)
        assert matcher.accept(token)
        assert inner.accept(token)
        place = after(place, vocabulary.token_bytes[token])
        out += vocabulary.token_bytes[token]
    assert matcher.is_accepting == (matcher.error is None and inner.is_accepting)
    if matcher.is_accepting:
        assert not has_repeated(out.decode())


WIDE = [
    *('": 1, "a"', '": {"a": 1, "b"', '": 1, "b": 1, "a"', '}, "a"', '1}, "b"', '], "a"', '[1], "b"', '[{"a"', ', "a"'),
    *(
        '"a": 1, "a"',
        '{"a": 1, "a"',
        '{"a": {}, "b"',
        '"a": {"a": 1}, "a"',
        '": []}, "b"',
        '1, "a": 1, "ab',
        '": "", "a"',
    ),
]
"""Tokens that end a name, or begin and end several, at once."""


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_tokens_of_several_names_repeat_none(vocabulary, seed):
    pieces = [*vocabulary.token_bytes, *(text.encode() for text in WIDE)]
    wide = _widened(tuple(pieces), vocabulary.eos_token_ids, vocabulary.special_token_ids)
    rng = random.Random(seed)
    matcher, place, mask_W = _free_objects(wide).matcher(), Place(), np.zeros(wide.words, np.uint32)
    names = [t for t in range(len(pieces)) if pieces[t] in (b"a", b"b", b"ab", b'"', b'{"', b'": ', b"1", b"{", b"[")]
    for _ in range(40):
        matcher.fill(mask_W)
        mine = [t for t in mask.to_ids(mask_W) if wide.is_text(t)]
        for token in mine:
            assert after(place, pieces[token]) is not None
        if not mine:
            break
        liked = [t for t in mine if t >= len(vocabulary.token_bytes) or t in names]
        token = rng.choice(liked if liked and rng.random() < 0.9 else mine)
        assert matcher.accept(token)
        place = after(place, pieces[token])


@functools.cache
def _widened(pieces, eos_token_ids, special_token_ids) -> Vocabulary:
    return Vocabulary(pieces, eos_token_ids, special_token_ids, len(pieces))


@functools.cache
def _free_objects(vocabulary) -> DistinctGrammar:
    return compile_constraint(JsonObject(), vocabulary)


def test_rollback_and_copies_keep_their_places(compiler, vocabulary):
    matcher = compiler.compile(JsonObject()).matcher()
    quote, a, b = (vocabulary.pieces.id_of(text) for text in (b'"', b"a", b"b"))
    for token in [*vocabulary.tokenize(b'{"a": 1, '), quote, b]:
        assert matcher.accept(token)
    other = matcher.copy()
    assert other.accept(quote)  # ends the name b
    matcher.rollback(1)
    assert matcher.accept(a)
    assert not matcher.accept(quote)
    assert matcher.would_accept(vocabulary.tokenize(b'c"')) == len(vocabulary.tokenize(b'c"'))
    matcher.rollback(1)
    assert matcher.accept(vocabulary.tokenize(b"c")[0])
    assert matcher.accept(quote)


def test_names_of_a_small_pattern_do_not_run_out(compiler, draw):
    schema = {"type": "object", "patternProperties": {"^[ab]$": {"type": "integer"}}, "additionalProperties": False}
    grammar = compiler.compile(JsonSchema(json.dumps(schema)))
    for seed in range(10):
        text, is_over = draw(grammar, seed)
        assert not is_over or json.loads(text).keys() <= {"a", "b"}


def test_a_tag_whose_names_run_out_ends_with_an_error(compiler, vocabulary):
    schema = {"type": "object", "patternProperties": {"^[a-z]$": {"type": "integer"}}, "additionalProperties": False}
    spec = {"triggers": ["<f"], "structures": [{"begin": "<f", "schema": schema, "end": "</f"}]}
    matcher = compiler.compile(StructuralTag(json.dumps(spec))).matcher()
    members = ", ".join(f'"{name}": 1' for name in "abcdefghijklmnopqrstuvwxyz")
    for token in vocabulary.tokenize(f'<f{{{members}, "a'.encode()):
        assert matcher.accept(token)
    mask_W = np.zeros(vocabulary.words, np.uint32)
    matcher.fill(mask_W)
    assert not mask_W.any()
    assert "every name" in matcher.error


FREE = {"type": "object", "additionalProperties": {"type": ["integer", "object", "array"]}}
CLOSED = {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": False}
TAGGED = [
    {"triggers": ["<f"], "structures": [{"begin": "<f", "schema": FREE, "end": "</f"}]},
    {
        "triggers": ["<f", "<t>"],
        "structures": [
            {"begin": "<t>", "schema": {"type": "string"}, "end": "</f"},
            {"begin": "<f", "schema": FREE, "end": "</f"},
        ],
    },
    {
        "type": "structural_tag",
        "format": {
            "type": "sequence",
            "elements": [
                {"type": "const_string", "value": "<f"},
                {"type": "json_schema", "json_schema": FREE},
                {"type": "const_string", "value": "</f"},
            ],
        },
    },
    {
        "type": "structural_tag",
        "format": {
            "type": "tags_with_separator",
            "separator": " ",
            "tags": [{"begin": "<f", "content": {"type": "json_schema", "json_schema": FREE}, "end": "</f"}],
        },
    },
]


@pytest.mark.parametrize("spec", TAGGED, ids=range(len(TAGGED)))
@settings(max_examples=25, deadline=None)
@given(members=st.lists(st.tuples(names, documents), max_size=4).map(tuple))
def test_documents_in_tags_repeat_no_name_either(compiler, vocabulary, spec, members):
    grammar = compiler.compile(StructuralTag(json.dumps(spec)))
    text = f"<f{written(members)}</f"
    assert accepts(grammar.inner, vocabulary, text)
    assert accepts(grammar, vocabulary, text) == (not has_repeated(written(members)))


def test_each_tags_document_has_names_of_its_own(compiler, vocabulary):
    grammar = compiler.compile(StructuralTag(json.dumps(TAGGED[1])))
    for text in (
        'x "a" "a" <f{"a": 1}</f {"a": 1, "a": 2} <f{"a": 1}</f',
        '<t>"{"</f "a" "a" <f{"a": {"a": [1]}, "b": []}</f',
        "no tag at all",
    ):
        assert accepts(grammar, vocabulary, text)
    assert not accepts(grammar, vocabulary, '<t>"{"</f <f{"a": 1}</f <f{"b": 1, "b": 1}</f')


def test_a_document_without_any_tag_repeats_no_name(compiler, vocabulary):
    spec = {"type": "structural_tag", "format": {"type": "json_schema", "json_schema": FREE}}
    grammar = compiler.compile(StructuralTag(json.dumps(spec)))
    assert accepts(grammar, vocabulary, '{"a": {"a": 1}, "b": 1}')
    assert not accepts(grammar, vocabulary, '{"a": {"a": 1}, "a": 1}')


def test_closed_documents_in_tags_need_no_watching(compiler):
    spec = {"triggers": ["<f"], "structures": [{"begin": "<f", "schema": CLOSED, "end": "</f"}]}
    assert not isinstance(compiler.compile(StructuralTag(json.dumps(spec))), DistinctGrammar)


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (True, True),
        ({}, True),
        ({"type": "string"}, False),
        ({"type": "object", "properties": {"a": {"type": "null"}}, "additionalProperties": False}, False),
        ({"type": "object", "properties": {"a": {"type": "null"}}}, True),
        ({"type": "array"}, True),
        ({"type": "array", "items": {"type": "integer"}}, False),
        ({"type": "array", "prefixItems": [{"type": "null"}], "maxItems": 1}, False),
        ({"anyOf": [{"type": "null"}, {"enum": [{"a": 1}]}]}, False),
        ({"$ref": "#/$defs/d0", "$defs": {"d0": {"type": "object"}}}, True),
    ],
)
def test_which_schemas_need_it(schema, expected):
    assert may_repeat(schema) == expected
