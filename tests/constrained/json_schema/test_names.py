"""Names by pattern mean what a validator says, whatever stands beside them."""

import itertools
import json

import jsonschema
import pytest

from radixlang.constrained.constraint import JsonSchema
from radixlang.constrained.translate import compile_constraint

NAMES = ["a", "b", "ab", "ba", "c", "abc"]
VALUES = [1, "x", None]
SCHEMAS = {
    "one name of two patterns": {
        "properties": {"ab": {"type": "integer"}},
        "patternProperties": {"^.$": {"type": "integer"}, "^(a|b)?$": {"enum": [1, "x"]}},
        "propertyNames": {"const": "a"},
    },
    "patterns that overlap": {
        "patternProperties": {"^a": {"type": ["integer", "string"]}, "b$": {"type": ["integer", "null"]}},
        "propertyNames": {"minLength": 2},
    },
    "all patterns beside others": {
        "patternProperties": {"^a": {"type": ["integer", "string"]}, "b$": {"type": ["integer", "null"]}},
        "propertyNames": {"pattern": "^[ab]+$"},
        "additionalProperties": {"type": "string"},
    },
    "unevaluated names": {
        "properties": {"a": {"type": "integer"}},
        "propertyNames": {"maxLength": 2},
        "unevaluatedProperties": {"type": "null"},
    },
    "unevaluated names beside alternatives": {
        "anyOf": [{"properties": {"a": {"type": "integer"}}}, {"properties": {"ab": {"type": "string"}}}],
        "propertyNames": {"pattern": "^a"},
        "unevaluatedProperties": False,
    },
    "before alternatives": {
        "additionalProperties": False,
        "anyOf": [{"required": ["a"]}, {"required": ["c"]}],
        "patternProperties": {"^[ab]$": {"type": "integer"}},
        "properties": {"c": {"type": "string"}},
    },
    "around alternatives": {
        "patternProperties": {"^[ab]$": {"type": "integer"}},
        "anyOf": [{"required": ["a"]}, {"maxProperties": 1}],
        "additionalProperties": {"type": "null"},
    },
    "beside what another schema refuses": {
        "propertyNames": {"minLength": 2},
        "not": {"required": ["ab", "ba"], "properties": {"ab": {"const": 1}}, "additionalProperties": False},
    },
}


@pytest.mark.parametrize("what", SCHEMAS)
def test_names_are_those_that_a_validator_takes(vocabulary, accepts, what):
    schema = {"type": "object", **SCHEMAS[what]}
    validator = jsonschema.Draft202012Validator(schema)
    grammar = compile_constraint(JsonSchema(json.dumps(schema)), vocabulary)
    documents = [dict(zip(names, values, strict=True)) for names, values in _objects()]
    verdicts = {validator.is_valid(document) for document in documents}
    assert verdicts == {True, False}
    for document in documents:
        orders = itertools.permutations(document.items())
        taken = any(accepts(grammar, json.dumps(dict(order))) for order in orders)
        assert taken == validator.is_valid(document), document


def _objects():
    for count in range(3):
        for names in itertools.combinations(NAMES, count):
            for values in itertools.product(VALUES, repeat=count):
                yield names, values


@pytest.mark.parametrize(
    ("name_format", "valid", "invalid"),
    [
        (
            "date",
            ["2024-02-29", "2000-02-29", "1999-12-31"],
            ["2023-02-29", "1900-02-29", "2024-04-31", "0000-01-01", "2024-1-1"],
        ),
        ("ipv4", ["0.0.0.0", "255.249.10.99"], ["256.1.1.1", "1.1.1", "01.1.1.1"]),
        ("uuid", ["2eb8aa08-aa98-11ea-b4aa-73b441d16380"], ["2eb8aa08-aa98-11ea-b4aa-73b441d1638"]),
    ],
)
def test_names_have_a_format(vocabulary, accepts, name_format, valid, invalid):
    schema = {"type": "object", "propertyNames": {"format": name_format}, "additionalProperties": {"type": "integer"}}
    grammar = compile_constraint(JsonSchema(json.dumps(schema)), vocabulary)
    checker = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
    assert all(checker.is_valid({name: 1}) for name in valid)
    assert all(accepts(grammar, json.dumps({name: 1})) for name in valid)
    assert not any(accepts(grammar, json.dumps({name: 1})) for name in invalid)
