"""`unevaluatedProperties` and `unevaluatedItems` written otherwise: the same documents, says a validator."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from radixlang.constrained.json_schema.unevaluated import closed

NAMES = st.sampled_from("pqr")
OBJECTS = st.lists(st.dictionaries(NAMES, st.sampled_from([1, "a"]), max_size=3), min_size=4, max_size=8)
VALUES = st.sampled_from([True, {"type": "integer"}, {"const": "a"}])
LEAVES = st.one_of(
    st.builds(lambda p: {"properties": p}, st.dictionaries(NAMES, VALUES, min_size=1, max_size=2)),
    st.builds(lambda n: {"required": [n]}, NAMES),
    st.builds(lambda p, v: {"patternProperties": {f"^{p}": v}}, NAMES, VALUES),
    st.builds(lambda v: {"additionalProperties": v}, VALUES),
)
ARRAYS = st.lists(st.lists(st.sampled_from([1, "a"]), max_size=4), min_size=4, max_size=8)
ARRAY_LEAVES = st.one_of(
    st.builds(lambda p: {"prefixItems": p}, st.lists(VALUES, min_size=1, max_size=3)),
    st.builds(lambda n: {"minItems": n}, st.integers(1, 3)),
    st.builds(lambda v: {"items": v}, VALUES),
    st.builds(lambda v: {"contains": v}, VALUES),
)


def schemas(leaves):
    return st.recursive(leaves, alternatives, max_leaves=5)


def alternatives(inner):
    return st.one_of(
        st.builds(
            lambda key, parts: {key: parts},
            st.sampled_from(["allOf", "anyOf", "oneOf"]),
            st.lists(inner, min_size=1, max_size=3),
        ),
        st.builds(lambda a, b, c: {"if": a, "then": b, "else": c}, inner, inner, inner),
        st.builds(lambda a, b: {"if": a, "then": b}, inner, inner),
        st.builds(lambda name, s: {"dependentSchemas": {name: s}}, NAMES, inner),
        st.builds(lambda a, b: {**a, **b}, inner, inner),
        st.builds(lambda s: {"not": s}, inner),
        st.just({"$ref": "#/$defs/shared"}),
    )


def check(node, key: str, documents) -> None:
    found = closed(node, key, lambda reference: node["$defs"][reference.rsplit("/", 1)[-1]])
    if found is None:
        return
    assert key not in found
    asked, written = Draft202012Validator(node), Draft202012Validator(found)
    for document in documents:
        assert written.is_valid(document) == asked.is_valid(document), document


@settings(max_examples=200, deadline=None)
@given(schemas(LEAVES), schemas(LEAVES), st.sampled_from([False, {"const": 1}]), OBJECTS)
def test_what_closes_an_object_refuses_what_nothing_evaluates(schema, shared, demand, documents) -> None:
    definitions = {"$defs": {"shared": {"properties": {"r": True}}}}
    check(
        {"allOf": [shared], **schema, **definitions, "unevaluatedProperties": demand},
        "unevaluatedProperties",
        documents,
    )


@settings(max_examples=200, deadline=None)
@given(schemas(ARRAY_LEAVES), schemas(ARRAY_LEAVES), st.sampled_from([False, {"const": 1}]), ARRAYS)
def test_what_closes_an_array_refuses_what_nothing_evaluates(schema, shared, demand, documents) -> None:
    definitions = {"$defs": {"shared": {"prefixItems": [True, {"const": "a"}]}}}
    check({"allOf": [shared], **schema, **definitions, "unevaluatedItems": demand}, "unevaluatedItems", documents)


def test_what_is_evaluated_below_alternatives_counts() -> None:
    """As of API descriptions: a shared part with a condition of its own, and one of several kinds."""
    part = {"if": {"required": ["p"]}, "then": {"properties": {"q": True}}}
    node = {
        "allOf": [{"properties": {"p": True}}, part],
        "oneOf": [{"properties": {"r": True}, "required": ["r"]}, {"properties": {"s": True}, "required": ["s"]}],
        "unevaluatedProperties": False,
    }
    found = closed(node, "unevaluatedProperties", lambda reference: None)
    assert found is not None
    validator = Draft202012Validator(found)
    good, bad = [{"p": 1, "q": 1, "r": 1}, {"s": 1}], [{"q": 1, "r": 1}, {"r": 1, "t": 1}]
    assert all(map(validator.is_valid, good))
    assert not any(map(validator.is_valid, bad))
