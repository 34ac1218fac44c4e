"""Where references lead, by draft: schemas of their own inside a schema, and what is no URI of a schema."""

import json

import pytest
from jsonschema.validators import validator_for

from radixlang.constrained.constraint import JsonSchema
from radixlang.constrained.json_schema.metaschemas import metaschema
from radixlang.errors import GrammarError

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


def stripped(schema, *, is_map: bool = False):
    """Without annotations; below a map of names all keys are names."""
    if isinstance(schema, list):
        return [stripped(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    dropped = set() if is_map else {"default", "title", "description", "$comment", "$schema", "id", "$id", "format"}
    dropped |= {"propertyNames"} if schema.get("propertyNames") == {"format": "regex"} else set()
    maps = ("properties", "definitions", "patternProperties")
    return {k: stripped(v, is_map=k in maps and not is_map) for k, v in schema.items() if k not in dropped}


@pytest.mark.parametrize("draft", [4, 6, 7])
def test_metaschemas_are_those_that_a_validator_has(draft: int) -> None:
    uri = f"http://json-schema.org/draft-0{draft}/schema"
    theirs = validator_for({"$schema": f"{uri}#"}).META_SCHEMA
    assert stripped(metaschema(uri)) == stripped(theirs)


@pytest.mark.parametrize("draft", [4, 6, 7])
def test_a_schema_of_schemas_refers_to_the_metaschema(check_schema, draft: int) -> None:
    uri = f"http://json-schema.org/draft-0{draft}/schema#"
    schema = {
        "$schema": uri,
        "properties": {"schema": {"$ref": uri}, "type": {"$ref": f"{uri}/properties/type"}},
        "definitions": {"a": {"properties": {"b": {"type": "null"}}}},
    }
    inner = {"type": "object", "properties": {"a": {"type": "integer", "items": [{}]}}, "required": ["a"]}
    check_schema(
        schema,
        valid=[{"schema": inner, "type": "string"}, {"schema": {}}],
        invalid=[{"schema": {"type": "strin"}}, {"schema": {"properties": {"a": 5}}}, {"type": 5}],
    )


def test_other_documents_are_not_fetched(compiler) -> None:
    for uri in ("https://json-schema.org/draft-07/schema#", "http://json-schema.org/draft-05/schema#"):
        with pytest.raises(GrammarError, match="leads outside"):
            compiler.compile(JsonSchema(json.dumps({"$ref": uri})))


@pytest.mark.parametrize("inner", [{"$ref": "https://x.example/list#inner"}, {"$dynamicRef": "#plain"}])
def test_a_dynamic_reference_that_can_lead_to_one_place_leads_there(check_schema, inner: dict) -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://x.example/root",
        "$defs": {
            "a": {"$dynamicAnchor": "tree", "properties": {"next": {"$dynamicRef": "#tree"}, "v": {"type": "integer"}}},
            "b": {"$id": "https://x.example/list", "$dynamicAnchor": "inner", "type": "string"},
            "c": {"$anchor": "plain", "type": "string"},
        },
        "properties": {"a": {"$dynamicRef": "#tree"}, "b": inner},
    }
    check_schema(
        schema,
        valid=[{"a": {"next": {"next": {"v": 1}}}, "b": "x"}],
        invalid=[{"a": {"next": {"v": "x"}}}, {"b": 1}],
    )


def test_a_recursive_reference_without_anchors_is_a_reference(check_schema) -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2019-09/schema",
        "$id": "https://x.example/root",
        "type": ["object", "integer"],
        "additionalProperties": {
            "$id": "https://x.example/inner",
            "anyOf": [{"type": "string"}, {"type": "array"}],
            "items": {"$recursiveRef": "#"},
        },
    }
    check_schema(schema, valid=[{"a": "x"}, {"a": [["x"]]}, 1], invalid=[{"a": 1}, {"a": [1]}, {"a": [{}]}, "x"])


@pytest.mark.parametrize(
    ("uri", "counts"),
    [
        ("http://json-schema.org/draft-07/schema#", False),
        ("http://json-schema.org/draft-04/schema", False),
        ("https://json-schema.org/draft-07/schema", True),  # no validator knows it: read as the latest draft
        ("https://json-schema.org/draft/2020-12/schema", True),
    ],
)
def test_beside_a_reference_keywords_count_unless_the_draft_says_not(check_schema, uri, counts) -> None:
    named = {"$ref": "#/definitions/s", "pattern": "^b"}
    schema = {"$schema": uri, "definitions": {"s": {"type": "string"}}, "properties": {"v": named}, "type": "object"}
    check_schema(schema, valid=[{"v": "b"}, *([] if counts else [{"v": "a"}])], invalid=[{"v": "a"}] if counts else [])
