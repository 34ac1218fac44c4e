"""What no mask enforces: whole grammars against a validator, on schemas drawn at random."""

from __future__ import annotations

import itertools
import json

import llguidance
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from radixlang.constrained.checked import CheckedGrammar
from radixlang.constrained.constraint import JsonSchema
from radixlang.constrained.guidance import GuidanceGrammar
from radixlang.constrained.json_schema.cursor import JsonCursor
from radixlang.constrained.json_schema.judge import SchemaJudge, watch_of
from radixlang.constrained.json_schema.lighter import lighter
from radixlang.constrained.json_schema.marks import without_marks
from radixlang.constrained.json_schema.normalise import normalise
from radixlang.constrained.json_schema.whitespace import engine_options
from radixlang.constrained.translate import compile_constraint
from radixlang.constrained.vocabulary import Vocabulary
from radixlang.errors import GrammarError

VOCABULARY = Vocabulary([b"</s>", *(bytes([b]) for b in range(256))], frozenset({0}), frozenset({0}), 257)
SCALARS = [None, True, 0, 1, 2, 3, 0.5, "", "a", "ab", "b"]
VALUES = st.recursive(
    st.sampled_from(SCALARS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("pqr"), inner, max_size=3)),
    max_leaves=5,
)
LEAVES = st.one_of(
    st.builds(lambda t: {"type": t}, st.sampled_from(["null", "boolean", "object", "array", "integer", "string"])),
    st.builds(lambda v: {"const": v}, st.sampled_from(SCALARS)),
    st.builds(lambda n: {"required": n}, st.lists(st.sampled_from("pq"), min_size=1, max_size=2, unique=True)),
    st.builds(lambda n: {"multipleOf": n}, st.integers(2, 3)),
    st.builds(lambda n: {"minimum": n}, st.integers(0, 2)),
    st.builds(lambda n: {"minProperties": n}, st.integers(1, 3)),
    st.builds(lambda p: {"pattern": p}, st.sampled_from(["^a", "b$", "^a?b?$"])),
    st.just({"uniqueItems": True}),
)
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(lambda s: {"items": s}, inner),
        st.builds(lambda s: {"prefixItems": s}, st.lists(inner, min_size=1, max_size=2)),
        st.builds(lambda s, n: {"contains": s, "minContains": n}, inner, st.integers(1, 2)),
        st.builds(lambda s, n: {"contains": s, "maxContains": n}, inner, st.integers(1, 2)),
        st.builds(lambda s: {"additionalProperties": s}, inner),
        st.builds(lambda p: {"properties": p}, st.dictionaries(st.sampled_from("pq"), inner, min_size=1, max_size=2)),
        st.builds(lambda s: {"patternProperties": {"^[pq]": s}}, inner),
        st.builds(lambda k, s: {k: s}, st.sampled_from(["anyOf", "oneOf"]), st.lists(inner, min_size=2, max_size=3)),
        st.builds(lambda s: {"not": s}, inner),
        st.builds(lambda a, b, c: {"if": a, "then": b, "else": c}, inner, inner, inner),
        st.builds(lambda a, b: {**a, **b}, inner, inner),
    ),
    max_leaves=5,
)


def orders(document):
    """The document with its keys in every order: the engine fixes that of listed ones."""
    if isinstance(document, list):
        return [list(found) for found in itertools.product(*map(orders, document))]
    if not isinstance(document, dict):
        return [document]
    found = []
    for names in itertools.permutations(document):
        inner = itertools.product(*(orders(document[name]) for name in names))
        found += [dict(zip(names, values, strict=True)) for values in inner]
    return found


def is_written(grammar, document) -> bool:
    token_ids = VOCABULARY.tokenize(json.dumps(document, ensure_ascii=False).encode())
    return grammar.matcher().would_accept([*token_ids, 0]) == len(token_ids) + 1


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(SCHEMAS, st.lists(VALUES, min_size=4, max_size=12))
def test_what_can_be_written_is_what_a_validator_accepts(schema, values) -> None:
    try:
        grammar = compile_constraint(JsonSchema(json.dumps(schema)), VOCABULARY)
    except GrammarError:
        return
    validator = Draft202012Validator(schema)
    for value in values:
        written = [one for one in orders(value)[:200] if is_written(grammar, one)]
        assert bool(written) == validator.is_valid(value), value


def light_grammar(schema, *, without_merging: bool) -> CheckedGrammar:
    light = lighter(normalise(json.dumps(schema)).schema, without_merging=without_merging)
    text = json.dumps(without_marks(light))
    source = llguidance.LLMatcher.grammar_from_json_schema(text, overrides=engine_options("fixed", text))
    return CheckedGrammar(GuidanceGrammar(source, VOCABULARY), VOCABULARY, watch=watch_of(light))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(SCHEMAS, SCHEMAS, st.lists(VALUES, min_size=4, max_size=8), st.booleans())
def test_what_is_left_to_the_judge_is_obeyed(one, other, values, without_merging: bool) -> None:
    schema = {"allOf": [one, {"anyOf": [other, {"type": "string"}]}]}
    try:
        grammar = light_grammar(schema, without_merging=without_merging)
    except GrammarError:
        return
    for value in values:
        written = any(is_written(grammar, order) for order in orders(value)[:200])
        assert written == Draft202012Validator(schema).is_valid(value), value


def test_patterns_that_the_engine_sees_as_one_are_told_apart_by_the_judge() -> None:
    names = {"^a": {"type": "integer"}, "^b[0-9]*$": {"type": "string"}}
    schema = {"type": "object", "patternProperties": names, "additionalProperties": False}
    grammar = light_grammar(schema, without_merging=True)
    for good in ({}, {"a": 1}, {"abc": 1, "b7": "x"}):
        assert is_written(grammar, good), good
    for bad in ({"a": "x"}, {"b": 1}, {"c": 1}, {"xa": 1}, {"b7x": "x"}):
        assert not is_written(grammar, bad), bad


def test_alternatives_that_multiply_are_left_to_the_judge() -> None:
    names = [f"p{i}" for i in range(14)]
    schema = {"dependencies": {name: {"required": names[i : i + 2]} for i, name in enumerate(names[:-1])}}
    grammar = compile_constraint(JsonSchema(json.dumps(schema)), VOCABULARY)
    assert any(is_written(grammar, one) for one in orders({"p11": 1, "p12": 1, "p13": 1}))
    assert not any(is_written(grammar, one) for one in orders({"p11": 1, "p13": 1}))
    assert is_written(grammar, {"p13": 1})


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(SCHEMAS, VALUES)
def test_the_judge_agrees_with_a_validator_and_gives_no_valid_document_up(schema, value) -> None:
    try:
        normalised = normalise(json.dumps({"type": ["array", "object"], "allOf": [schema]})).schema
    except GrammarError:
        return
    if not isinstance(normalised, dict) or not isinstance(value, list | dict):
        return
    cursor = JsonCursor(SchemaJudge(normalised))
    cursor.feed(json.dumps(value).encode())
    if Draft202012Validator(schema).is_valid(value):
        assert cursor.fault is None


ALTERNATIVES = {
    "anyOf": [
        {"properties": {"kind": {"const": "set"}, "list": {"type": "array", "uniqueItems": True}}},
        {"properties": {"kind": {"const": "bag"}, "list": {"type": "array", "items": {"type": "integer"}}}},
    ],
    "required": ["kind", "list"],
    "additionalProperties": False,
    "type": "object",
    "properties": {"kind": True, "list": True},
}
CASES = [
    (ALTERNATIVES, {"kind": "set", "list": [1, 2]}, {"kind": "set", "list": [1, 1]}),
    (ALTERNATIVES, {"kind": "bag", "list": [1, 1]}, {"kind": "bag", "list": [1, "a"]}),
    (
        {"anyOf": [{"type": "array", "uniqueItems": True}, {"type": "array", "items": {"type": "integer"}}]},
        [1, 1],
        ["a", "a"],
    ),
    ({"anyOf": [{"uniqueItems": True}, {"items": {"type": "integer"}}]}, ["a", 1], [1, 1, "a"]),
    ({"contains": {"const": 5}, "minContains": 2, "maxContains": 3}, [5, 1, 5], [5, 1]),
    ({"contains": {"const": 5}, "maxContains": 2}, [5, 5], [5, 5, 5]),
    ({"$schema": "http://json-schema.org/draft-07/schema#", "contains": {"const": 5}, "maxContains": 1}, [5, 5], [4]),
    ({"type": "array", "prefixItems": [{"type": "array", "uniqueItems": True}]}, [[1, 2]], [[1, 1]]),
    (
        {"type": "array", "prefixItems": [True, {"minProperties": 2}], "items": True},
        [1, {"a": 1, "b": 2}],
        [1, {"a": 1}],
    ),
    ({"minProperties": 3}, {"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 2}),
    ({"type": "array", "items": {"not": {"type": "object", "additionalProperties": False}}}, [{"a": 1}], [{}]),
    ({"oneOf": [{"required": ["a"]}, {"required": ["b"]}], "type": "object"}, {"a": 1, "c": 2}, {"a": 1, "b": 2}),
]


@pytest.mark.parametrize(("schema", "good", "bad"), CASES, ids=lambda value: json.dumps(value)[:50])
def test_each_alternative_is_judged_by_its_own_marks(schema, good, bad) -> None:
    grammar = compile_constraint(JsonSchema(json.dumps(schema)), VOCABULARY)
    assert is_written(grammar, good)
    assert not is_written(grammar, bad)


@pytest.mark.parametrize("number", ["1e999999999999999999999", "-1e999", "9" * 5000, "1" + "0" * 400])
def test_a_number_beyond_all_bounds_is_judged_and_breaks_nothing(number: str) -> None:
    for refused in ({"multipleOf": 3}, {"minimum": 5}, {"type": "integer"}):
        cursor = JsonCursor(SchemaJudge(normalise(json.dumps({"type": "number", "not": refused})).schema))
        cursor.feed(number.encode())
        assert cursor.is_faulty_here in (True, False)
        cursor.finish()


def test_what_masks_enforce_is_watched_by_nobody() -> None:
    schema = {"type": "object", "properties": {"a": {"enum": [1, 2]}, "b": {"type": "string", "maxLength": 5}}}
    assert not isinstance(compile_constraint(JsonSchema(json.dumps(schema)), VOCABULARY), CheckedGrammar)


def test_a_name_of_our_own_is_no_keyword() -> None:
    with pytest.raises(GrammarError) as caught:
        normalise('{"x-radixlang-refuses": {"schema": true}}')
    assert caught.value.code == "invalid_schema"


def asked(monkeypatch, schema, document) -> int:
    """How often the judge looks at a value, until the document is written."""
    count = 0
    plain = SchemaJudge._fits

    def fits(self, *args):
        nonlocal count
        count += 1
        return plain(self, *args)

    with monkeypatch.context() as patched:
        patched.setattr(SchemaJudge, "_fits", fits)
        assert is_written(compile_constraint(JsonSchema(json.dumps(schema)), VOCABULARY), document)
    return count


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "array", "items": {"type": "array", "uniqueItems": True}}, lambda n: [[i] for i in range(n)]),
        ({"type": "array", "contains": {"const": 5}, "maxContains": 2}, lambda n: list(range(n))),
        (
            {"type": "object", "not": {"required": ["x"]}, "additionalProperties": {"uniqueItems": True}},
            lambda n: {f"p{i}": [i] for i in range(n)},
        ),
    ],
)
def test_what_ended_well_is_not_looked_at_again(monkeypatch, schema, value) -> None:
    few, many = (asked(monkeypatch, schema, value(n)) for n in (20, 80))
    assert many < 5 * few, "each value is looked at as often, however long the document is"


def test_what_is_written_again_is_not_judged_again(monkeypatch) -> None:
    schema = {"type": "array", "items": {"type": "array", "uniqueItems": True}}
    matcher = compile_constraint(JsonSchema(json.dumps(schema)), VOCABULARY).matcher()
    for token_id in VOCABULARY.tokenize(b"[[1, 2], [3], [4, 4"):
        assert matcher.accept(token_id)
    with monkeypatch.context() as patched:
        patched.setattr(SchemaJudge, "may_become_valid", lambda *_: pytest.fail("asked"))
        matcher.rollback(1)
        other = matcher.copy()
    for one in (matcher, other):
        assert one.accept(*VOCABULARY.tokenize(b"4"))
        assert one.accept(*VOCABULARY.tokenize(b"]"))
        assert one.take_back, "what came before is still known"


def test_a_name_that_comes_twice_is_judged_twice() -> None:
    cursor = JsonCursor(
        SchemaJudge(normalise('{"additionalProperties": {"type": "array", "uniqueItems": true}}').schema)
    )
    cursor.feed(b'{"a": [1], "b": [2], "a": [1, 1]')
    assert cursor.fault is not None
