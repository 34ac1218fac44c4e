"""Objects of thousands of optional properties are served, quickly, and mean what they say."""

import json
import random
import re
from string import ascii_uppercase

import pytest

from radixlang.constrained.constraint import JsonSchema
from radixlang.constrained.json_schema import crowded
from radixlang.constrained.translate import compile_constraint
from radixlang.errors import GrammarTooLarge


def compiled(vocabulary, schema):
    return compile_constraint(JsonSchema(json.dumps(schema)), vocabulary)


@pytest.mark.parametrize("is_closed", [True, False])
def test_three_thousand_optional_properties_are_served(vocabulary, accepts, is_closed):
    kinds = [{"type": "integer"}, {"type": "boolean"}]
    properties = {f"the_{i}_name": kinds[i % 2] for i in range(3000)}
    schema = {"type": "object", "properties": properties, "required": ["the_7_name"]}
    grammar = compiled(vocabulary, schema | ({"additionalProperties": False} if is_closed else {}))
    assert accepts(grammar, '{"the_7_name": true, "the_2998_name": 2, "the_0_name": 1}')
    assert not accepts(grammar, '{"the_2998_name": 2}')
    assert not accepts(grammar, '{"the_7_name": true, "the_2998_name": true}')
    assert not accepts(grammar, '{"the_7_name": true, "the_3_name": 1}')
    assert not accepts(grammar, '{"the_7_name": true, "the_2_name": 1, "the_2_name": 1}')
    assert accepts(grammar, '{"the_7_name": true, "the_name": "x"}') != is_closed


@pytest.mark.parametrize("where", ["root", "items", "either"])
def test_small_objects_mean_the_same_by_patterns(vocabulary, accepts, monkeypatch, where):
    few = {
        "type": "object",
        "properties": {"d": {"type": "null"}, "a": {"type": "integer"}, "b": {"type": "integer"}, 'c"': {"const": "x"}},
        "required": ["d"],
        "additionalProperties": {"type": "boolean"},
    }
    schema = {"root": few, "items": {"type": "array", "items": few}, "either": {"anyOf": [few, {"const": 1}]}}[where]
    before = compiled(vocabulary, schema)
    monkeypatch.setattr(crowded, "MAX_OPTIONAL", 1)
    after = compiled(vocabulary, schema)
    assert "patternProperties" in json.dumps(crowded.uncrowded(few))
    for text in (
        '{"d": null}',
        "{}",
        '{"d": null, "a": 1}',
        '{"d": null, "a": true}',
        '{"d": null, "c\\"": "x"}',
        '{"d": null, "c\\"": false}',
        '{"d": null, "ab": false}',
        '{"d": null, "ab": 1}',
        '{"d": null, "a": 1, "a": 1}',
        "1",
    ):
        document = f"[{text}]" if where == "items" else text
        wanted = accepts(before, document)
        assert accepts(after, document) == wanted, document


def test_what_stands_beside_other_schemas_is_left_alone():
    many = {"type": "object", "properties": {f"p{i}": True for i in range(1300)}}
    for schema in ({"allOf": [many, {"required": ["p1"]}]}, {**many, "anyOf": [{"required": ["p1"]}]}):
        assert crowded.uncrowded(schema) == schema


def test_too_many_schemas_are_refused_in_our_words(compiler):
    properties = {f"p{i}": {"const": i} for i in range(1500)}
    with pytest.raises(GrammarTooLarge, match="optional properties"):
        compiler.compile(JsonSchema(json.dumps({"type": "object", "properties": properties})))


def test_every_property_of_a_schema_is_still_there():
    many = {"type": "object", "properties": {f"p{i}": {"type": "integer"} for i in range(2500)}, "required": ["p3"]}
    found = crowded.uncrowded(many)
    assert found["properties"] == {"p3": {"type": "integer"}}
    for i in range(2500):
        matching = [pattern for pattern in found["patternProperties"] if re.search(pattern, f"p{i}")]
        assert len(matching) == (i != 3)


def test_names_of_many_kinds_that_begin_alike_are_told_apart(vocabulary, accepts):
    rng = random.Random(0)
    tools = [
        f"{''.join(rng.choices(ascii_uppercase, k=6))}_{''.join(rng.choices(ascii_uppercase, k=9))}" for _ in "x" * 250
    ]
    kinds = {"ARGUMENTS": {"type": "array"}, "DIRECTORY": {"type": "string"}, "MODE": {"enum": ["file", "list"]}}
    kinds |= {"DISABLED": {"type": "boolean"}, "LIMIT": {"type": "integer"}, "REGEX": {"type": ["string", "array"]}}
    properties = {f"{tool}_{kind}": schema for tool in tools for kind, schema in kinds.items()}
    grammar = compiled(vocabulary, {"type": "object", "properties": properties, "additionalProperties": False})
    assert accepts(grammar, f'{{"{tools[9]}_LIMIT": 1, "{tools[200]}_MODE": "list", "{tools[9]}_REGEX": "a"}}')
    assert not accepts(grammar, f'{{"{tools[9]}_LIMIT": "a"}}')
    assert not accepts(grammar, f'{{"{tools[9]}_LIMITS": 1}}')


def test_what_lies_at_a_place_of_a_list_becomes_patterns_too():
    many = {"type": "object", "properties": {f"p{i}": {"type": "integer"} for i in range(crowded.MAX_OPTIONAL + 1)}}
    [item] = crowded.uncrowded({"type": "array", "prefixItems": [many]})["prefixItems"]
    assert item["patternProperties"]
    assert not item["properties"]
