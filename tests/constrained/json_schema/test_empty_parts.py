"""What nothing fits, somewhere in a schema, takes nothing from the documents that do without it."""

import json

import pytest

from radixlang.constrained.constraint import JsonSchema
from radixlang.constrained.json_schema.empty_parts import without_empty_definitions
from radixlang.constrained.translate import compile_constraint
from radixlang.errors import UnsatisfiableGrammar

EMPTY = {
    "a number that is a string": {
        "type": "object",
        "properties": {"a": {"type": "number"}},
        "patternProperties": {"^a": {"type": "string"}},
        "required": ["a"],
    },
    "too few values": {"type": "array", "items": {"const": None}, "minItems": 3, "uniqueItems": True},
    "too few strings": {
        "type": "array",
        "items": {"type": "string", "pattern": "^[ab]$"},
        "minItems": 3,
        "uniqueItems": True,
    },
    "an empty enum": {"enum": []},
    "two patterns": {"type": "string", "allOf": [{"pattern": "^a+$"}, {"pattern": "^b+$"}]},
    "a way through a reference": {"type": "object", "properties": {"a": {"$ref": "#/$defs/inner"}}, "required": ["a"]},
}
INNER = {"type": "object", "properties": {"b": {"enum": []}, "c": {"type": "integer"}}, "required": ["b"]}


def compiled(vocabulary, schema):
    return compile_constraint(JsonSchema(json.dumps(schema)), vocabulary)


@pytest.mark.parametrize("why", EMPTY)
def test_a_part_that_nothing_fits_may_be_left_out(vocabulary, accepts, why):
    schema = {"$defs": {"x": EMPTY[why], "inner": INNER}, "type": "array", "items": {"$ref": "#/$defs/x"}}
    grammar = compiled(vocabulary, schema)
    assert accepts(grammar, "[]")
    assert not accepts(grammar, "[1]")
    schema |= {"type": "object", "properties": {"x": {"$ref": "#/$defs/x"}, "n": {"type": "integer"}}}
    grammar = compiled(vocabulary, schema)
    assert accepts(grammar, '{"n": 1}')
    assert not accepts(grammar, '{"x": 1}')


@pytest.mark.parametrize("why", EMPTY)
def test_a_part_that_nothing_fits_and_that_must_be_there_is_told(vocabulary, why):
    for schema in (EMPTY[why], {"type": "array", "items": {"$ref": "#/$defs/x"}, "minItems": 1}):
        with pytest.raises(UnsatisfiableGrammar):
            compiled(vocabulary, {**schema, "$defs": {"x": EMPTY[why], "inner": INNER}})


def test_definitions_that_only_lead_to_an_empty_one_stay_where_they_need_not_go_there():
    empty = EMPTY["a number that is a string"]
    leads = {"type": "array", "items": {"$ref": "#/$defs/empty"}}
    needs = {"type": "array", "items": {"$ref": "#/$defs/empty"}, "minItems": 1}
    schema = {"anyOf": [{"$ref": "#/$defs/leads"}, {"$ref": "#/$defs/needs"}], "$defs": {}}
    schema["$defs"] = {"empty": empty, "leads": leads, "needs": needs}
    left = without_empty_definitions(schema)
    assert left["anyOf"] == [{"$ref": "#/$defs/leads"}]
    assert left["$defs"]["leads"] == {"type": "array", "items": False}


def test_an_empty_part_that_leads_round_to_itself_is_found(vocabulary, accepts):
    patterns = {"b$": {"$ref": "#"}, "^.$": {"enum": [{"ab": 1}, 2]}}
    grammar = compiled(vocabulary, {"type": "object", "patternProperties": patterns})
    assert accepts(grammar, '{"a": 2, "ab": {"a": {"ab": 1}}}')
    assert not accepts(grammar, '{"b": 2}')


def test_patterns_of_which_the_engine_cannot_tell_whether_they_exclude_each_other_are_served(vocabulary, accepts):
    both = [{"pattern": r"^.*\$\{name\}.*$"}, {"pattern": r"^.*\$\{parameters\}.*$"}]
    schema = {"properties": {"a": {"type": "string", "minLength": 20, "allOf": both}}, "required": ["a"]}
    grammar = compiled(vocabulary, {"type": "object", **schema})
    assert accepts(grammar, '{"a": "${parameters}${name}"}')
    assert not accepts(grammar, '{"a": "${parameters} and more"}')
