"""Schemas drawn at random, over every keyword that is rewritten: no document is accepted that a validator refuses."""

import itertools
import json
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from radixlang.constrained.checked import CheckedMatcher
from radixlang.constrained.constraint import JsonSchema
from radixlang.constrained.translate import compile_constraint
from radixlang.constrained.vocabulary import Vocabulary
from radixlang.errors import GrammarError

VOCABULARY = Vocabulary([b"</s>", *(bytes([b]) for b in range(256))], frozenset({0}), frozenset({0}), 257)
NAMES = ["a", "b", "x1"]
INNER = [1, 2, "s", [1, 1], {"a": 1}]
DOCUMENTS = [
    dict(zip(names, values, strict=True))
    for count in range(3)
    for names in itertools.permutations(NAMES, count)
    for values in itertools.product(INNER, repeat=count)
]
DOCUMENTS += [1, 2, 1.5, "s", "ss", "", True, None, [], [1], [1, 1], [1, "s"], [1, 2], [2, 1, 2]]
TYPES = ["object", "string", "integer", "number", "array", "null", "boolean", ["string", "null"], ["integer", "object"]]
NAME_SCHEMAS = [
    {"pattern": "^[ab]"}, {"maxLength": 1}, {"not": {"const": "a"}}, {"enum": ["a", "x1"]},
    {"anyOf": [{"const": "a"}, {"pattern": "^x"}]},
]  # fmt: skip


def drawn(rng: random.Random, depth: int = 0) -> dict:
    """A schema with one to three kinds of keywords."""
    inner = depth < 3
    makers = [
        lambda: {"type": rng.choice(TYPES)},
        lambda: {"const": rng.choice([1, "s", True, None, {"a": 1}, [1]])},
        lambda: {"enum": rng.sample([1, 2, "s", True, None, 1.5], rng.randint(1, 3))},
        lambda: {rng.choice(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"]): rng.choice([0, 1, 2])},
        lambda: {rng.choice(["minLength", "maxLength"]): rng.choice([0, 1, 2])},
        lambda: {"pattern": rng.choice(["^s", "s$", "^a|b", "[0-9]"])},
    ]
    if inner:
        makers += 2 * [lambda: objects(rng, depth), lambda: combined(rng, depth)]
        makers += [
            lambda: arrays(rng, depth),
            lambda: {"propertyNames": rng.choice(NAME_SCHEMAS)},
            lambda: {rng.choice(["minProperties", "maxProperties"]): rng.choice([1, 1, 2])},
            lambda: {"dependentRequired": {"a": ["b"]}},
            lambda: {"dependentSchemas": {"a": drawn(rng, depth + 1)}},
            lambda: {"if": drawn(rng, depth + 1), "then": drawn(rng, depth + 1)},
            lambda: {"unevaluatedProperties": rng.choice([False, {"type": "integer"}])},
            lambda: {"$ref": rng.choice(["#/$defs/p", "#/$defs/q"])},
            lambda: {"allOf": [switch_case(rng, depth, value) for value in rng.sample([1, 2, "s"], 2)]},
            lambda: {"not": drawn(rng, depth + 2)},
        ]
    schema: dict = {}
    for maker in rng.sample(makers, rng.choice([1, 1, 2, 3])):
        schema.update(maker())
    return schema


def objects(rng: random.Random, depth: int) -> dict:
    schema: dict = {"properties": {name: drawn(rng, depth + 1) for name in rng.sample(NAMES, rng.randint(1, 2))}}
    if rng.random() < 0.5:
        schema["required"] = rng.sample(NAMES, rng.randint(1, 2))
    if rng.random() < 0.4:
        schema["additionalProperties"] = rng.choice([False, drawn(rng, depth + 1)])
    if rng.random() < 0.2:
        schema["patternProperties"] = {rng.choice(["^x", "^[ab]", "1$"]): drawn(rng, depth + 1) for _ in range(2)}
    return schema


def arrays(rng: random.Random, depth: int) -> dict:
    schema: dict = {"items": drawn(rng, depth + 1), rng.choice(["minItems", "maxItems"]): rng.choice([0, 1, 2])}
    if rng.random() < 0.4:
        schema["uniqueItems"] = True
    return schema


def combined(rng: random.Random, depth: int) -> dict:
    key = rng.choice(["anyOf", "oneOf", "oneOf", "allOf"])
    return {key: [drawn(rng, depth + 1) for _ in range(rng.randint(2, 3))]}


def switch_case(rng: random.Random, depth: int, value: object) -> dict:
    needed = {"required": ["a"]} if rng.random() < 0.7 else {}
    return {"if": {"properties": {"a": {"const": value}}, **needed}, "then": drawn(rng, depth + 1)}


def accepts(grammar, document) -> bool:
    """Whether the document may be written without any of it being taken back."""
    token_ids = VOCABULARY.tokenize(json.dumps(document).encode())
    matcher = grammar.matcher()
    if not isinstance(matcher, CheckedMatcher):
        return matcher.would_accept([*token_ids, 0]) == len(token_ids) + 1
    return all(matcher.accept(t) and not matcher.take_back for t in token_ids) and matcher.is_accepting


@settings(max_examples=120, deadline=None)
@given(st.integers(0, 2**32))
@example(501857)  # const beside an enum without it, judged while the document is written
@example(639916)  # a refused `if` beside additionalProperties, which is no part of it
@example(887)  # names of patternProperties that have been taken apart, compared
def test_nothing_invalid_is_accepted(seed: int) -> None:
    rng = random.Random(seed)
    recursive = {"type": "object", "properties": {"a": {"$ref": "#/$defs/q"}}, **drawn(rng, 2)}
    schema = {**drawn(rng), "$defs": {"p": drawn(rng, 2), "q": recursive}}
    try:
        grammar = compile_constraint(JsonSchema(json.dumps(schema)), VOCABULARY)
    except GrammarError:
        return
    validator = Draft202012Validator(schema)
    for document in DOCUMENTS:
        if accepts(grammar, document):
            try:
                assert validator.is_valid(document), document
            except RecursionError:  # the validator's own: a reference that leads to itself in place
                return


@pytest.mark.parametrize("name", ["enum", "const", "$defs", "properties", "default", "x-radixlang-unique"])
@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "array", "uniqueItems": True, "items": {"type": "integer"}}, [1, 2], [1, 1]),
        ({"$ref": "#/$defs/distinct"}, [1, 2], [1, 1]),
        ({"type": "array", "contains": {"type": "string"}}, ["s"], [1]),
        ({"not": {"properties": {"q": {"multipleOf": 3}}, "required": ["q"]}}, {"q": 1}, {"q": 3}),
        ({"$ref": "#distinct"}, [1, 2], [1, 1]),
    ],
)
def test_a_property_may_be_called_like_a_keyword(name, schema, good, bad) -> None:
    definitions = {"distinct": {"type": "array", "uniqueItems": True}}
    anchored = {"default": {"$anchor": "distinct", "uniqueItems": True}}
    whole = {"type": "object", "properties": {name: schema}, "$defs": definitions, "patternProperties": anchored}
    grammar = compile_constraint(JsonSchema(json.dumps(whole)), VOCABULARY)
    assert accepts(grammar, {name: good})
    assert not accepts(grammar, {name: bad})


def test_what_is_judged_is_judged_behind_a_circle() -> None:
    again = {"$ref": "#/$defs/q"}
    part = {"allOf": [{"minLength": 2}, {"anyOf": [{"maxProperties": 1}, {"minLength": 2}]}, again]}
    whole = {"properties": {"a": again}, "items": {"$ref": "#/$defs/p"}}
    grammar = compile_constraint(JsonSchema(json.dumps({**again, "$defs": {"p": part, "q": whole}})), VOCABULARY)
    for good, bad in ((["ab"], ["a"]), ({"a": ["ab"]}, {"a": ["a"]}), ({"a": {"a": ["ab"]}}, {"a": {"a": ["a"]}})):
        assert accepts(grammar, good)
        assert not accepts(grammar, bad)
