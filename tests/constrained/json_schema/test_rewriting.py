"""Keywords that the engine lacks, rewritten: what is accepted is what a validator accepts, over all small documents."""

import itertools
import json

import pytest
from jsonschema import Draft202012Validator

from radixlang.constrained.constraint import JsonSchema
from radixlang.errors import GrammarError, UnsupportedGrammar

KEYS = ["a", "b", "c", "x-1"]
VALUES = [1, 2, "s", True]
OBJECTS = [
    dict(zip(names, values, strict=True))
    for count in range(4)
    for names in itertools.permutations(KEYS, count)
    for values in itertools.product(VALUES[: 4 - count], repeat=count)
]
DOCUMENTS = [*OBJECTS, 1, 1.5, "s", True, None, [], [1], [1, 1], [1, "s"]]


def when(value, then, **more):
    return {"if": {"properties": {"a": {"const": value}}, **more}, "then": then}


def obj(**fields):
    return {"type": "object", **fields}


HAS_A = {"required": ["a"]}
BASE = {
    "base": obj(properties={"a": {"type": "integer"}}),
    "ext": {"patternProperties": {"^x-": True}},
    "node": obj(properties={"c": {"$ref": "#/$defs/node", "description": "its own kind"}, "a": {"type": "integer"}}),
}
EXACT = {
    "names by alternatives": obj(propertyNames={"anyOf": [{"const": "a"}, {"pattern": "^x-"}]}),
    "names that a reference lists": obj(
        propertyNames={"$ref": "#/$defs/n"}, **{"$defs": {"n": {"enum": ["a", "x-1"]}}}
    ),
    "names of bounded length, some listed": obj(
        propertyNames={"minLength": 1, "maxLength": 1}, properties={"a": {"type": "integer"}, "x-1": {}}, required=["a"]
    ),
    "names of bounded length, others restricted": obj(
        propertyNames={"maxLength": 1}, properties={"a": {"type": "integer"}}, additionalProperties={"type": "string"}
    ),
    "long names": obj(propertyNames={"maxLength": 1024}, additionalProperties={"type": "integer"}),
    "long names, some listed": obj(propertyNames={"maxLength": 1024}, properties={"a": {"type": "integer"}}),
    "names that are listed and more": obj(propertyNames={"enum": ["a", "x-1"], "maxLength": 1}),
    "names by complement": obj(propertyNames={"not": {"enum": ["a"]}, "format": "regex"}),
    "names by reference": obj(propertyNames={"$ref": "#/$defs/n"}, **{"$defs": {"n": {"maxLength": 1}}}),
    "names that two schemas take": obj(propertyNames={"allOf": [{"pattern": "^[ab]"}, {"maxLength": 1}]}),
    "names of no length": obj(propertyNames={"minLength": 3, "maxLength": 2}),
    "oneOf of closed objects": {
        "oneOf": [
            obj(properties={"a": {"type": "string"}}, additionalProperties=False),
            obj(properties={"b": {"type": "string"}}, additionalProperties=False),
        ]
    },
    "oneOf told apart by a pattern for names": {
        "oneOf": [
            obj(required=["a"], patternProperties={"^a$": {"type": "string"}}),
            obj(properties={"b": {}}, patternProperties={"^x-": {}}, additionalProperties=False),
        ]
    },
    "oneOf of a pattern and constants": {
        "oneOf": [{"type": "string", "pattern": "^x"}, {"enum": ["s", "t"]}, {"type": "integer"}]
    },
    "oneOf of nullable types": {"oneOf": [{"type": ["string", "null"]}, {"type": ["integer", "null"]}]},
    "not integer among integers and strings": {"type": ["integer", "string"], "not": {"type": "integer"}},
    "unevaluatedProperties beside allOf": obj(
        properties={"b": {"type": "string"}},
        allOf=[{"$ref": "#/$defs/base"}, {"$ref": "#/$defs/ext"}],
        unevaluatedProperties=False,
        **{"$defs": BASE},
    ),
    "unevaluatedProperties beside oneOf": obj(
        oneOf=[
            {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {"properties": {"b": {"type": "string"}}, "required": ["b"], "not": HAS_A},
        ],
        unevaluatedProperties={"type": "boolean"},
    ),
    "maxProperties beside free keys": obj(properties={"a": {}, "b": {}}, maxProperties=1),
    "both bounds beside free keys": obj(properties={"a": {}, "b": {}}, maxProperties=2, minProperties=1),
    "maxProperties beside required": obj(properties={"a": {}, "b": {}}, required=["b"], maxProperties=2),
    "a switch": {
        "properties": {"a": {}, "b": {}, "c": {}},
        "allOf": [
            when(1, {"required": ["b"]}, **HAS_A),
            when("s", {"required": ["c"]}),
            when(True, {"properties": {"b": {"type": "string"}}}, **HAS_A),
        ],
    },
    "a switch that other types pass through": {
        "allOf": [when(1, {"type": "object"}, **HAS_A), when("s", {"required": ["b"]}, **HAS_A)]
    },
    "a circular reference with a sibling": obj(
        properties={"c": {"$ref": "#/$defs/node", "required": ["a"]}}, **{"$defs": BASE}
    ),
    "a reference with siblings": {"$ref": "#/$defs/base", "required": ["b"], "$defs": BASE},
    "dependencies as draft 3 has them": {
        "$schema": "http://json-schema.org/draft-03/schema#",
        "dependencies": {"a": "b"},
    },
}

EXACT |= {
    "unevaluatedProperties beside anyOf": obj(
        anyOf=[
            {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {"properties": {"b": {"type": "string"}}, "required": ["b"]},
        ],
        unevaluatedProperties=False,
    ),
    "unevaluatedProperties beside if": obj(
        **{
            "if": {"properties": {"a": {"const": 1}}, "required": ["a"]},
            "then": {"properties": {"b": True}},
            "else": {"properties": {"c": True}},
        },
        unevaluatedProperties=False,
    ),
    "unevaluatedProperties beside dependentSchemas": obj(
        properties={"a": True}, dependentSchemas={"a": {"properties": {"b": True}}}, unevaluatedProperties=False
    ),
    "unevaluatedItems beside items of any kind": {
        "prefixItems": [{"type": "integer"}],
        "items": True,
        "unevaluatedItems": False,
    },
    "unevaluatedItems beside alternatives": {
        "prefixItems": [{"type": "integer"}],
        "anyOf": [{"prefixItems": [True, {"type": "string"}]}, {"maxItems": 1}],
        "unevaluatedItems": False,
    },
    "oneOf with lists of other things": {
        "oneOf": [
            {"type": "array", "items": {"type": "string"}},
            {"type": "array", "items": {"type": "null"}, "minItems": 1},
            obj(),
        ]
    },
    "oneOf of which one branch requires what the other refuses": {
        "oneOf": [
            obj(properties={"a": {"const": 1}, "b": {}}, required=["a"]),
            obj(properties={"a": {"type": "string"}}),
            {"type": "string"},
        ]
    },
    "oneOf where one branch demands a property": {
        "oneOf": [
            obj(properties={"a": {"multipleOf": 2}}, required=["a"]),
            obj(properties={"b": {"type": "string"}}, required=["b"]),
        ]
    },
    "not a schema with a oneOf": obj(**{"not": {"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}}),
}


def accepted_in_some_order(accepts, grammar, document) -> bool:
    """The engine fixes the order of listed keys."""
    orders = itertools.permutations(document.items()) if isinstance(document, dict) else [None]
    return any(accepts(grammar, json.dumps(document if order is None else dict(order))) for order in orders)


@pytest.mark.parametrize("name", EXACT)
def test_what_is_accepted_is_what_a_validator_accepts(compiler, accepts, name: str) -> None:
    schema = EXACT[name]
    grammar = compiler.compile(JsonSchema(json.dumps(schema)))
    validator = Draft202012Validator(schema)
    if "dependencies" in schema:
        validator = Draft202012Validator({"dependentRequired": {"a": ["b"]}})
    wide = [d for d in DOCUMENTS if not validator.is_valid(d) and accepts(grammar, json.dumps(d))]
    assert not wide
    one_each = {json.dumps(d, sort_keys=True): d for d in DOCUMENTS if validator.is_valid(d)}.values()
    assert one_each
    assert [d for d in one_each if not accepted_in_some_order(accepts, grammar, d)] == []


NARROWER = {
    "oneOf where one branch demands a property": EXACT["oneOf where one branch demands a property"],
    "unevaluatedProperties beside many alternatives": obj(
        anyOf=[
            {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {"properties": {"b": {"type": "string"}}, "required": ["b"]},
            *({"properties": {f"p{i}": {"type": "string"}}, "required": [f"p{i}"]} for i in range(5)),
        ],
        unevaluatedProperties=False,
    ),
}


def test_what_would_be_narrower_is_refused_unless_asked_for(compiler) -> None:
    with pytest.raises(UnsupportedGrammar) as caught:
        compiler.compile(JsonSchema(json.dumps(NARROWER["unevaluatedProperties beside many alternatives"])))
    assert caught.value.pointer.startswith("#")
    assert caught.value.keyword == "unevaluatedProperties"


@pytest.mark.parametrize("name", NARROWER)
def test_what_is_narrower_accepts_nothing_invalid_and_most_of_what_is_valid(compiler, accepts, name: str) -> None:
    schema = NARROWER[name]
    grammar = compiler.compile(JsonSchema(json.dumps(schema), on_unsupported="narrow"))
    validator = Draft202012Validator(schema)
    assert not [d for d in DOCUMENTS if not validator.is_valid(d) and accepts(grammar, json.dumps(d))]
    one_each = {json.dumps(d, sort_keys=True): d for d in DOCUMENTS if validator.is_valid(d)}.values()
    found = [d for d in one_each if accepted_in_some_order(accepts, grammar, d)]
    assert len(found) > 0.6 * len(one_each)


def test_a_reference_to_itself_is_refused(compiler) -> None:
    schema = {"$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}, {"type": "object"}]}}, "$ref": "#/$defs/a"}
    with pytest.raises(GrammarError) as caught:
        compiler.compile(JsonSchema(json.dumps(schema)))
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("low", "high", "valid", "invalid"),
    [
        ({"exclusiveMinimum": 1}, {"exclusiveMaximum": 1.5}, ["1.2", "1.4999"], ["1", "1.0", "1.5", "2"]),
        ({"exclusiveMinimum": 0}, {"maximum": 0.25}, ["0.1", "0.25"], ["0", "0.0", "0.26"]),
        ({"minimum": -1.5}, {"exclusiveMaximum": -1}, ["-1.5", "-1.1"], ["-1", "-1.0", "-1.6"]),
        ({"minimum": 1, "exclusiveMinimum": True}, {"maximum": 1.5}, ["1.5"], ["1", "1.0"]),
    ],
)
def test_open_bounds_within_one_unit_hold(compiler, accepts, low, high, valid, invalid) -> None:
    for schema in ({"type": "number", **low, **high}, {"allOf": [{"type": "number", **low}, {**high}]}):
        grammar = compiler.compile(JsonSchema(json.dumps(schema)))
        assert [text for text in valid if not accepts(grammar, text)] == []
        assert [text for text in invalid if accepts(grammar, text)] == []


def test_a_corner_that_nothing_fits_leaves_the_rest(check_schema) -> None:
    schema = {
        "properties": {"a": {"$ref": "#/$defs/yes", "type": "array"}, "b": {"type": "integer"}},
        "$defs": {"yes": {"type": "boolean"}},
    }
    check_schema(schema, valid=[{"b": 1}, {}, 5], invalid=[{"a": []}, {"a": True}, {"b": "x"}])


def test_alternatives_whose_names_are_forbidden_around_them_leave_the_rest(check_schema) -> None:
    title = {"additionalProperties": False, "oneOf": [{"required": ["url"]}, {"required": ["text"]}]}
    schema = {
        "$defs": {"title": title, "base": {"properties": {"no": False}}},
        "properties": {
            "a": {"anyOf": [{"$ref": "#/$defs/title"}]},
            "b": {"anyOf": [{"$ref": "#/$defs/title"}, {"type": "string"}]},
            "c": {"allOf": [{"$ref": "#/$defs/base"}], "anyOf": [{"required": ["no"]}, {"required": ["yes"]}]},
        },
    }
    check_schema(
        schema,
        valid=[{}, {"b": "x"}, {"c": {"yes": 1}}, {"c": 5}, 5],
        invalid=[{"a": {}}, {"a": {"url": 1}}, {"a": 5}, {"b": {"text": 1}}, {"c": {"no": 1}}, {"c": {}}],
    )


@pytest.mark.parametrize("asked", [{}, {"type": "object"}, {"type": "object", "required": ["a"]}])
def test_many_conditions_on_one_property_are_cases(check_schema, asked) -> None:
    def condition(value: str, name: str) -> dict:
        return {"if": {"properties": {"a": {"type": "string", "const": value}}, **asked}, "then": {"required": [name]}}

    schema = {"type": ["object", "null"], "allOf": [condition(f"v{i}", f"p{i}") for i in range(12)]}
    without = [None, {}] if "required" in asked else [None] if "type" in asked else []
    check_schema(
        schema,
        valid=[
            {"a": "v1", "p1": 1},
            {"a": "w"},
            {"a": 1},
            {f"p{i}": 1 for i in range(12)},
            *without,
        ],
        invalid=[{"a": "v1"}, {"a": "v2", "p1": 1}, *([] if {} in without else [{}, {"p0": 1}])],
    )


def test_many_exclusive_properties_do_not_multiply(check_schema) -> None:
    branches = [{"properties": {f"p{i}": {"type": "integer"}}, "additionalProperties": False} for i in range(23)]
    check_schema(
        {"type": "object", "oneOf": branches},
        valid=[{"p1": 1}, {"p22": 5}],
        invalid=[{}, {"p1": 1, "p2": 1}, {"p1": "x"}],
    )
    wanted = [{"properties": {f"p{i}": {"type": "integer"}}, "required": [f"p{i}"]} for i in range(9)]
    check_schema(
        {"type": "object", "oneOf": wanted, "properties": {f"p{i}": {"type": ["integer", "null"]} for i in range(9)}},
        valid=[{"p1": 1}, {"p2": 1, "p5": None}],
        invalid=[{}, {"p1": 1, "p2": 1}, {"p1": None}],
    )
