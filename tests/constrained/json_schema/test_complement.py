import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from radixlang.constrained.fsm.pattern import Alt, Chars, Seq
from radixlang.constrained.json_schema import disjoint as disjoint_module
from radixlang.constrained.json_schema.branches import rivals_of, told_apart
from radixlang.constrained.json_schema.complement import OtherStrings, canonical, types_of
from radixlang.constrained.json_schema.disjoint import disjoint, within
from radixlang.constrained.json_schema.marks import REFUSES
from radixlang.constrained.json_schema.normalise import normalise
from radixlang.constrained.json_schema.relative import refused

VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([0.5, "a", "ab", "b", ""])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("pq"), inner, max_size=2)),
    max_leaves=4,
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from(["a", "ab"]))
TYPES = st.sampled_from(["null", "boolean", "object", "array", "number", "string", ["string", "null"]])
SCHEMAS = st.recursive(
    st.one_of(
        st.booleans(),
        st.builds(lambda t: {"type": t}, TYPES),
        st.builds(lambda v: {"const": v}, SCALARS),
        st.builds(lambda v: {"enum": v}, st.lists(SCALARS, min_size=1, max_size=3)),
        st.builds(lambda n: {"required": n}, st.lists(st.sampled_from("pq"), max_size=2, unique=True)),
        st.builds(
            lambda k, n: {k: n}, st.sampled_from(["minLength", "maxLength", "minItems", "maxItems"]), st.integers(0, 2)
        ),
        st.builds(
            lambda k, n: {k: n},
            st.sampled_from(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"]),
            st.integers(-2, 2),
        ),
    ),
    lambda inner: st.one_of(
        st.builds(lambda p: {"properties": p}, st.dictionaries(st.sampled_from("pq"), inner, max_size=2)),
        st.builds(
            lambda p, more: {"type": "object", "properties": p, "additionalProperties": more},
            st.dictionaries(st.sampled_from("pq"), inner, max_size=2),
            st.one_of(st.just(False), inner),
        ),
        st.builds(lambda s: {"patternProperties": {"^p": s}}, inner),
        st.builds(lambda s: {"items": s}, inner),
        st.builds(lambda p, s: {"prefixItems": p, "items": s}, st.lists(inner, min_size=1, max_size=2), inner),
        st.builds(lambda s, n: {"items": s, "minItems": n}, inner, st.integers(0, 2)),
        st.builds(lambda s: {"oneOf": s}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda k, s: {k: s}, st.sampled_from(["anyOf", "allOf"]), st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda s: {"not": s}, inner),
        st.builds(lambda a, b: {**a, **b} if isinstance(a, dict) and isinstance(b, dict) else a, inner, inner),
    ),
    max_leaves=6,
)


def same(schema):
    return schema


def spelled_out(schema):
    """What is marked as a validator knows it."""
    if isinstance(schema, list):
        return [spelled_out(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    return {"not" if key == REFUSES else key: spelled_out(inner) for key, inner in schema.items()}


def without_patterns(schema) -> bool:
    return "pattern" not in str(schema)


@settings(max_examples=400, deadline=None)
@given(SCHEMAS, st.one_of(st.just(True), SCHEMAS), st.lists(VALUES, max_size=10))
def test_the_complement_is_exactly_what_the_schema_refuses_of_a_context(schema, context, values) -> None:
    found = refused(schema, context, same)
    if found is None or not without_patterns(found):
        return
    json.dumps(found)
    asked, given_beside = Draft202012Validator(schema), Draft202012Validator(context)
    options = [Draft202012Validator(spelled_out(option)) for option in found]
    for value in values:
        if given_beside.is_valid(value):
            assert any(option.is_valid(value) for option in options) != asked.is_valid(value), value


@settings(max_examples=200, deadline=None)
@given(SCHEMAS, SCHEMAS, st.lists(VALUES, max_size=10))
def test_a_part_of_the_complement_never_reaches_into_the_schema(schema, context, values) -> None:
    found = refused(schema, context, same, partly=True) or []
    if not without_patterns(found):
        return
    asked, given_beside = Draft202012Validator(schema), Draft202012Validator(context)
    options = [Draft202012Validator(option) for option in found]
    for value in values:
        if given_beside.is_valid(value) and any(option.is_valid(value) for option in options):
            assert not asked.is_valid(value), value


@settings(max_examples=200, deadline=None)
@given(SCHEMAS, SCHEMAS, st.lists(VALUES, max_size=10))
def test_what_lies_within_a_schema_satisfies_it(one, other, values) -> None:
    if within(one, other, same):
        for value in values:
            assert not Draft202012Validator(one).is_valid(value) or Draft202012Validator(other).is_valid(value), value


@settings(max_examples=150, deadline=None)
@given(SCHEMAS, SCHEMAS, st.lists(VALUES, max_size=10))
def test_disjoint_schemas_share_no_document(one, other, values) -> None:
    if disjoint(one, other, same):
        for value in values:
            assert not (Draft202012Validator(one).is_valid(value) and Draft202012Validator(other).is_valid(value)), (
                value
            )


def test_constants_tell_many_branches_apart() -> None:
    def branch(k):
        return {"type": "object", "properties": {"k": {"const": k}}, "required": ["k"]}

    assert told_apart([branch(i) for i in range(500)])
    assert not told_apart([branch(1), branch(1.0)])
    assert not told_apart([branch(1), {**branch(2), "required": []}])


def test_canonical_tells_trees_apart_that_stand_for_texts() -> None:
    """Where names of `patternProperties` have been taken apart, their patterns are trees."""
    parts = (Chars(((97, 97),)), Chars(((98, 98),)))
    one, other = ({"patternProperties": {tree: True}} for tree in (Seq(parts), Alt(parts)))
    assert canonical(one) == canonical({"patternProperties": {Seq(parts): True}}) != canonical(other)
    assert canonical({"pattern": OtherStrings(("a",))}) != canonical({"pattern": ["a"]})


@pytest.mark.parametrize(
    "circle",
    [
        {"oneOf": [{"$ref": "#/$defs/x"}, {"$ref": "#/$defs/x"}, {"type": "string"}]},
        {"allOf": [{"$ref": "#/$defs/x"}, {"enum": [1, 2]}], "oneOf": [{"$ref": "#/$defs/x"}, {"minLength": 1}, True]},
    ],
)
def test_a_circle_of_references_is_gone_round_once(circle, monkeypatch) -> None:
    num_asked = 0

    def counted(schema):
        nonlocal num_asked
        num_asked += 1
        return types_of(schema)

    monkeypatch.setattr(disjoint_module, "types_of", counted)
    normalise(json.dumps({"properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": circle}}))
    assert num_asked < 20_000, "it was two million"


def test_what_a_branch_says_at_a_glance_tells_it_apart_as_a_comparison_does() -> None:
    base = {"properties": {"kind": {"enum": ["a", "b"]}, "n": {"type": "integer"}}, "required": ["kind"]}
    branches = [
        {"type": "object", "allOf": [base, {"properties": {"kind": {"const": "a"}}}]},
        {"type": "object", "allOf": [base, {"oneOf": [{"properties": {"kind": {"const": "b"}}}]}]},
        {"type": "object", "properties": {"other": True}, "additionalProperties": False},
        {"type": ["string", "null"]},
        {"enum": ["x", None]},
        {"type": "object", "required": ["other"]},
    ]
    assert rivals_of(branches, same) == {0: [5], 1: [5], 2: [5], 3: [4], 4: [3], 5: [0, 1, 2]}


@settings(max_examples=150, deadline=None)
@given(st.lists(SCHEMAS, min_size=2, max_size=4), st.lists(VALUES, max_size=10))
def test_branches_that_are_no_rivals_share_no_document(branches, values) -> None:
    rivals = rivals_of(branches, same)
    assert rivals is not None
    for i, j in itertools.combinations(range(len(branches)), 2):
        if j not in rivals.get(i, []):
            both = [v for v in values if all(Draft202012Validator(branches[k]).is_valid(v) for k in (i, j))]
            assert not both


def test_sixty_branches_are_compared_and_thousands_are_not() -> None:
    def branch(i: int, *, required: bool) -> dict:
        return {"properties": {f"p{i}": {"type": "integer"}}, "required": [f"p{i}"] if required else []}

    found = rivals_of([branch(i, required=True) for i in range(60)], same)
    assert found is not None
    assert len(found) == 60
    assert rivals_of([branch(i, required=True) for i in range(100)], same) is None
    assert rivals_of([{"minLength": i} for i in range(1000)], same) is None
