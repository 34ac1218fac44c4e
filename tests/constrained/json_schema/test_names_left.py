"""An object of few names is never led where all that may come is in it already, and nothing else is forbidden."""

import itertools
import json
import math
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radixlang.constrained import mask
from radixlang.constrained.constraint import JsonSchema
from radixlang.constrained.fsm.choices import of_strings
from radixlang.constrained.fsm.determinise import alphabet_of, determinise
from radixlang.constrained.fsm.pattern import char_sets, parse
from radixlang.constrained.fsm.utf8 import to_bytes
from radixlang.constrained.json_schema import names, names_left
from radixlang.constrained.json_schema.normalise import normalise
from radixlang.constrained.translate import compile_constraint
from radixlang.errors import UnsatisfiableGrammar

DATES = {
    "type": "object",
    "patternProperties": {"^2024-0[12]-[0-3][0-9]$": {"enum": [1]}},
    "additionalProperties": False,
}
MONTHS = {
    "type": "object",
    "propertyNames": {"pattern": "^2024-(0[12]|1[0-2]|x*)$"},
    "additionalProperties": {"const": 1},
}


@pytest.fixture
def never_listed(monkeypatch):
    """Names of small patterns are not written out: the engine knows them as it does those of large ones."""
    monkeypatch.setattr(names, "MAX_LISTED_NAMES", 0)


def compiled(vocabulary, schema):
    return compile_constraint(JsonSchema(json.dumps(schema)), vocabulary)


def fill_up(vocabulary, grammar, seed: int, max_tokens: int = 400) -> bytes:
    """An answer that goes on as long as it may."""
    rng, matcher, row = random.Random(seed), grammar.matcher(), mask.allocate(1, vocabulary.words)[0]
    out = b""
    for _ in range(max_tokens):
        matcher.fill(row)
        assert matcher.error is None, (matcher.error, out)
        allowed = [t for t in mask.to_ids(row) if vocabulary.is_text(t)]
        allowed = [t for t in allowed if vocabulary.token_bytes[t].strip()] or allowed
        for t in rng.sample(allowed, min(3, len(allowed))):
            assert matcher.would_accept([t]) == 1
        if not allowed:
            assert matcher.is_accepting
            break
        ends = {t for t in allowed if b"}" in vocabulary.token_bytes[t]}
        token = rng.choice([t for t in allowed if t not in ends] or allowed)
        assert matcher.accept(token)
        out += vocabulary.token_bytes[token]
    return out


words = st.lists(st.text("ab1", min_size=0, max_size=3), min_size=1, max_size=5, unique=True)


@settings(max_examples=40, deadline=None)
@given(
    patterns=words,
    listed=st.lists(st.sampled_from(["a", "b", "ab", "zz"]), max_size=2, unique=True),
    seed=st.integers(0, 99),
)
def test_objects_fill_up_with_all_their_names(vocabulary, patterns, listed, seed):
    limit, names.MAX_LISTED_NAMES = names.MAX_LISTED_NAMES, 0
    try:
        schema = {
            "type": "object",
            "properties": {name: {"const": 1} for name in listed},
            "patternProperties": {f"^({'|'.join(map(re.escape, patterns))})$": {"const": 1}},
            "additionalProperties": False,
        }
        grammar = compiled(vocabulary, schema)
        text = fill_up(vocabulary, grammar, seed)
        assert set(json.loads(text)) >= set(patterns) - set(listed)
        for order in itertools.permutations([n for n in patterns if n not in listed][:3]):
            document = json.dumps({**dict.fromkeys(listed, 1), **dict.fromkeys(order, 1)})
            ids = vocabulary.tokenize(document.encode())
            assert grammar.matcher().would_accept(ids) == len(ids)
    finally:
        names.MAX_LISTED_NAMES = limit


@pytest.mark.parametrize("where", ["root", "items", "property", "reference", "either"])
def test_names_never_run_out_wherever_the_object_stands(vocabulary, never_listed, where):
    few = {"type": "object", "patternProperties": {"^[ab][12]$": {"const": 1}}, "additionalProperties": False}
    other = {"type": "object", "patternProperties": {"^[ab]x$": {"const": 2}}, "additionalProperties": False}
    schema = {
        "root": few,
        "items": {"type": "array", "items": few, "minItems": 1, "maxItems": 2},
        "property": {"type": "object", "properties": {"p": few}, "required": ["p"], "additionalProperties": False},
        "reference": {
            "$defs": {"d": few},
            "type": "array",
            "items": {"$ref": "#/$defs/d"},
            "maxItems": 1,
            "minItems": 1,
        },
        "either": {"anyOf": [few, other, {"type": "null"}]},
    }[where]
    grammar = compiled(vocabulary, schema)
    for seed in range(4):
        found = json.loads(fill_up(vocabulary, grammar, seed))
        if where == "root":
            assert set(found) == {"a1", "a2", "b1", "b2"}
        if where == "either" and found:
            assert set(found) in ({"a1", "a2", "b1", "b2"}, {"ax", "bx"})


def test_large_patterns_run_out_in_parts(vocabulary):
    grammar = compiled(vocabulary, DATES)
    used = ", ".join(f'"2024-01-3{digit}": 1' for digit in range(10))
    matcher = grammar.matcher()
    for token in vocabulary.tokenize(f'{{{used}, "2024-01-'.encode()):
        assert matcher.accept(token)
    row = mask.allocate(1, vocabulary.words)[0]
    matcher.fill(row)
    texts = {vocabulary.token_bytes[t] for t in mask.to_ids(row)}
    assert {b"0", b"1", b"2"} <= texts
    assert not any(text.startswith(b"3") for text in texts)


def test_endless_patterns_run_out_of_what_begins_in_one_way(vocabulary):
    grammar = compiled(vocabulary, MONTHS)
    text = '{"2024-01": 1, "2024-02": 1, "2024-'
    matcher = grammar.matcher()
    for token in vocabulary.tokenize(text.encode()):
        assert matcher.accept(token)
    ids = vocabulary.tokenize(b"0")
    assert matcher.would_accept(ids) == 0
    assert matcher.would_accept(vocabulary.tokenize(b"1")) == 1
    assert matcher.would_accept(vocabulary.tokenize(b"xxxx")) > 0


def test_escaped_names_are_counted_as_they_read(vocabulary, never_listed):
    schema = {"type": "object", "patternProperties": {'^["x]$': {"const": 1}}, "additionalProperties": False}
    grammar = compiled(vocabulary, schema)
    ids = vocabulary.tokenize(b'{"\\"": 1, "x": 1')
    assert grammar.matcher().would_accept(ids) == len(ids)
    assert grammar.matcher().would_accept([*ids, *vocabulary.tokenize(b",")]) == len(ids)


@given(st.lists(st.text("abc", max_size=4), max_size=12))
def test_states_know_how_many_strings_follow(strings):
    dfa = of_strings([text.encode() for text in strings])
    for text in ("", "a", "ab", "c"):
        state = dfa.step(1, text.encode())
        assert dfa.num_after[state] == sum(found.startswith(text) for found in set(strings))


def test_distinct_items_of_a_pattern_are_no_more_than_it_matches():
    def normalised(pattern, **more):
        items = {"type": "string", "pattern": pattern}
        return normalise(json.dumps({"type": "array", "uniqueItems": True, "items": items, **more})).schema

    assert normalised("^[ab][1-6]$")["maxItems"] == 12
    assert normalised("^[ab][1-6]$", maxItems=5)["maxItems"] == 5
    assert "maxItems" not in normalised("[ab][1-6]$")
    assert "maxItems" not in normalised("^[a-z]{9}$")
    with pytest.raises(UnsatisfiableGrammar, match="fewer values"):
        normalised("^[ab][1-6]$", minItems=13)


def test_only_schemas_whose_names_may_run_out_are_watched():
    endless = {"type": "object", "patternProperties": {"^(?:x[a-z]{0,})$": True}, "additionalProperties": False}
    few = {"type": "object", "patternProperties": {"^(?:x[a-z]{2,2})$": True}, "additionalProperties": False}
    assert names_left.names_left(endless) is None
    assert names_left.names_left({"type": "array", "items": endless}) is None
    assert names_left.names_left({**few, "additionalProperties": True}) is None
    assert names_left.names_left({"type": "array", "items": few}) is not None
    assert names_left.names_left(True) is None
    assert math.inf not in of_strings([b"a"]).num_after


PARTS = st.sampled_from(["a", "[ab]*", "b+", "(?:ab)*", "(?:a|b+)", "(?:a*)*", "c?", "(?:[ab]*|c+)", "(?:c{2}|a)+"])


@given(st.lists(PARTS, min_size=1, max_size=3), st.lists(PARTS, max_size=2))
@settings(max_examples=150, deadline=None)
def test_where_names_are_not_counted_every_beginning_has_endless_many(one: list[str], other: list[str]) -> None:
    pattern = f"(?:{''.join(one)}|{''.join(other)})" if other else "".join(one)
    if names_left.counted((pattern,)) is None:
        tree = parse(pattern)
        alphabet = alphabet_of(char_sets(tree))
        assert all(left in (0, math.inf) for left in to_bytes(determinise(tree, alphabet), alphabet).num_after)


@pytest.mark.parametrize("pattern", ["^[a-z]+$", "(en|de)", "^(?:x-.+|[a-z]+(?:-[a-z]+)*)$"])
def test_names_that_never_run_out_are_not_counted(pattern: str) -> None:
    schema = {"type": "object", "patternProperties": {pattern: {}}, "additionalProperties": False}
    assert names_left.names_left(normalise(json.dumps(schema)).schema) is None
