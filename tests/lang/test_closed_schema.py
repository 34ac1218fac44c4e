from __future__ import annotations

import json

import pytest

from radixlang.errors import GrammarTooLarge
from radixlang.lang.closed_schema import closed, closed_text


def test_objects_that_list_properties_are_closed_at_every_depth():
    inner = {"type": "object", "properties": {"b": {"type": "integer"}}}
    schema = {"properties": {"a": inner, "l": {"items": inner}, "u": {"anyOf": [inner, {"type": "null"}]}}}
    found = closed(schema)
    assert found["additionalProperties"] is False
    assert found["properties"]["a"]["additionalProperties"] is False
    assert found["properties"]["l"]["items"]["additionalProperties"] is False
    assert found["properties"]["u"]["anyOf"][0]["additionalProperties"] is False
    assert "additionalProperties" not in schema


def test_what_says_something_of_other_names_stays():
    for schema in (
        {"type": "object"},
        {"properties": {"a": {}}, "additionalProperties": {"type": "string"}},
        {"properties": {"a": {}}, "patternProperties": {"x": {}}},
        {"properties": {"a": {}}, "required": ["b"]},
        {"properties": {"a": {}}, "anyOf": [{"properties": {"b": {}}}]},
        {"allOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]},
        True,
    ):
        assert closed(schema) == schema


def test_a_property_may_be_called_like_a_keyword():
    found = closed({"properties": {"items": {"type": "string"}, "anyOf": {"type": "integer"}}})
    assert found["additionalProperties"] is False


def test_text_that_is_no_json_is_left_to_the_backend():
    for text in (
        "{nonsense",
        "[" * 100_000,
        '{"items":' * 100_000 + "{}" + "}" * 100_000,
        '{"const":' + "1" * 5000 + "}",
    ):
        assert closed_text(text) == text
    assert json.loads(closed_text({"properties": {}})) == {"properties": {}, "additionalProperties": False}


def test_data_nested_too_deeply_is_refused():
    schema = {}
    for _ in range(5000):
        schema = {"items": schema}
    with pytest.raises(GrammarTooLarge):
        closed_text(schema)


@pytest.mark.parametrize("required", [True, [["a"]], "a", None])
def test_what_is_no_schema_is_left_to_the_backend(required):
    assert json.loads(closed_text({"properties": {"a": {}}, "required": required}))["required"] == required
