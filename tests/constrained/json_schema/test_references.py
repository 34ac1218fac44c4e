"""Where references lead, by draft: schemas of their own inside a schema, and what is no URI of a schema."""

import json

import pytest

from radixlang.constrained.constraint import JsonSchema

OWN = {"$defs": {"n": {"type": "integer"}}, "properties": {"v": {"$ref": "#/$defs/n"}}}


def test_two_inner_schemas_of_one_uri_lead_into_themselves_each(compiler, accepts) -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://x.example/all",
        "properties": {
            "a": {"$id": "https://x.example/t", "type": "string"},
            "b": {"$id": "https://x.example/t", **OWN, "additionalProperties": False},
        },
    }
    compiled = compiler.compile(JsonSchema(json.dumps(schema)))  # a validator cannot tell the two apart
    assert accepts(compiled, '{"a": "x", "b": {"v": 1}}')
    assert not accepts(compiled, '{"a": "x", "b": {"v": "x"}}')
    assert not accepts(compiled, '{"a": 1}')


@pytest.mark.parametrize(
    ("draft", "key"),
    [("http://json-schema.org/draft-04/schema#", "$id"), ("http://json-schema.org/draft-07/schema#", "id")],
)
def test_the_other_drafts_word_for_a_uri_means_nothing(check_schema, draft: str, key: str) -> None:
    schema = {
        "$schema": draft,
        "properties": {"a": {key: "/elsewhere", "properties": {"b": {"$ref": "#/definitions/n"}}}},
        "definitions": {"n": {"type": "integer"}},
    }
    check_schema(schema, valid=[{"a": {"b": 1}}], invalid=[{"a": {"b": "x"}}])


@pytest.mark.parametrize("uri", ["urn:example:inner", "https://x.example/inner", "inner"])
def test_a_fragment_leads_into_the_inner_schema_whatever_its_uri(check_schema, uri: str) -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://x.example/outer",
        "$defs": {"n": {"type": "string"}},
        "properties": {"a": {"$id": uri, **OWN}, "c": {"$ref": "#/$defs/n"}},
    }
    check_schema(schema, valid=[{"a": {"v": 1}, "c": "x"}], invalid=[{"a": {"v": "x"}}, {"c": 1}])
