"""Circular references beside other keywords: the keys of objects stand in the order that they always had."""

import itertools
import json

import pytest

from radixlang.constrained.constraint import JsonSchema
from radixlang.constrained.json_schema.normalise import normalise
from radixlang.errors import UnsupportedGrammar

NAMES = "abcd"


def one(name: str) -> dict:
    return {"type": "object", "properties": {name: {"type": "integer"}}}


SCHEMAS = [
    {"properties": one("c")["properties"], "$ref": "#/$defs/d"},
    {"$ref": "#/$defs/d", "properties": one("c")["properties"]},
    {"allOf": [{"$ref": "#/$defs/d"}, one("c")]},
    {"allOf": [one("a"), one("b")], "properties": one("c")["properties"], "$ref": "#/$defs/d"},
    {"$ref": "#/$defs/d", "allOf": [{"allOf": [one("a")], "properties": one("b")["properties"]}], "properties": {}},
    {"properties": one("c")["properties"], "anyOf": [one("a"), {"type": "null"}], "$ref": "#/$defs/d"},
    {"anyOf": [{"$ref": "#/$defs/d"}, {"type": "null"}], "allOf": [one("a")], "properties": one("b")["properties"]},
]


def orders(compiler, accepts, schema: dict) -> set[str]:
    """In which the schema takes all its names."""
    grammar = compiler.compile(JsonSchema(json.dumps(schema)))
    names = [name for name in NAMES if f'"{name}"' in json.dumps(schema)]
    return {
        "".join(order)
        for order in itertools.permutations(names)
        if accepts(grammar, "{" + ", ".join(f'"{name}": 1' for name in order) + "}")
    }


@pytest.mark.parametrize("schema", SCHEMAS, ids=json.dumps)
def test_keys_stand_in_the_order_that_they_have_where_nothing_is_circular(compiler, accepts, schema: dict) -> None:
    plain = {"type": "object", "properties": {"d": {"type": "integer"}}}
    circular = {"type": "object", "properties": {"d": {"type": "integer"}, "z": {"$ref": "#/$defs/d"}}}
    wanted = orders(compiler, accepts, {**schema, "$defs": {"d": plain}})
    assert wanted
    assert orders(compiler, accepts, {**schema, "$defs": {"d": circular}}) == wanted


def test_alternatives_that_multiply_round_a_circle_are_refused_and_not_written_out() -> None:
    array = {"type": "array", "minItems": 2, "maxItems": 2, "uniqueItems": True}
    condition = {
        "if": {"type": "array", "items": {"const": 1}, "contains": {"const": {"bc": True}}},
        "then": {"$ref": "#"},
    }
    branches = [
        {"oneOf": [array, {"maxLength": 2}]},
        {"not": {"type": ["integer", "array"]}, "type": "object"},
        condition,
    ]
    with pytest.raises(UnsupportedGrammar, match="too many combinations"):
        normalise(json.dumps({"oneOf": branches}))
