import json

import pytest

from radixlang.constrained.constraint import Choice, Closing, Grammar, JsonObject, JsonSchema, Regex, StructuralTag
from radixlang.constrained.fields import constraint_from_fields, find_constraint, locate
from radixlang.errors import GrammarError, UnsupportedGrammar

SCHEMA = {"type": "object"}
TEXT = json.dumps(SCHEMA)
READ = [
    ({}, None),
    ({"regex": None, "json_schema": None}, None),
    ({"regex": "a+"}, Regex("a+")),
    ({"ebnf": "root ::= x"}, Grammar("root ::= x", "ebnf")),
    ({"json_schema": TEXT}, JsonSchema(TEXT)),
    ({"json_schema": SCHEMA}, JsonSchema(TEXT)),
    ({"json_schema": "$$ANY$$"}, JsonObject()),
    ({"structural_tag": {"format": {}}}, StructuralTag('{"format": {}}')),
    ({"response_format": {"type": "text"}}, None),
    ({"response_format": {"type": "json_object"}}, JsonObject()),
    ({"response_format": {"type": "json_object", "schema": SCHEMA}}, JsonSchema(TEXT)),
    ({"response_format": {"type": "json_object", "schema": {}}}, JsonObject()),
    ({"response_format": {"type": "json_object", "schema": False}}, JsonSchema("false")),
    ({"response_format": {"type": "regex", "regex": "a", "pattern": None}}, Regex("a")),
    ({"response_format": {"type": "json_schema", "json_schema": None, "schema": SCHEMA}}, JsonSchema(TEXT)),
    ({"output_config": {"effort": "low"}}, None),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}}},
        JsonSchema(TEXT, strict=True),
    ),
    ({"response_format": {"type": "json_schema", "schema": SCHEMA}}, JsonSchema(TEXT)),
    ({"response_format": {"type": "regex", "pattern": "a"}}, Regex("a")),
    ({"guided_json": SCHEMA}, JsonSchema(TEXT)),
    ({"guided_json": TEXT, "guided_whitespace_pattern": "[ ]?"}, JsonSchema(TEXT, "fixed")),
    ({"guided_json": TEXT, "guided_whitespace_pattern": ""}, JsonSchema(TEXT, "compact")),
    ({"guided_regex": "a"}, Regex("a")),
    ({"guided_choice": ["a", "b", "a"]}, Choice(("a", "b"))),
    ({"guided_grammar": "root ::= x"}, Grammar("root ::= x", "ebnf")),
    ({"guided_grammar": "start: x"}, Grammar("start: x", "lark")),
    ({"structured_outputs": {"json": SCHEMA, "disable_any_whitespace": True}}, JsonSchema(TEXT, "compact")),
    ({"structured_outputs": {"regex": "a", "backend": None}}, Regex("a")),
    ({"structured_outputs": {"choice": ["a"]}}, Choice(("a",))),
    ({"structured_outputs": {"grammar": 'root ::= "x"'}}, Grammar('root ::= "x"', "ebnf")),
    ({"structured_outputs": {"json_object": True}}, JsonObject()),
    ({"grammar": 'root ::= "x"'}, Grammar('root ::= "x"', "gbnf")),
    ({"grammar": ""}, None),
    ({"format": "json"}, JsonObject()),
    ({"format": ""}, None),
    ({"format": SCHEMA}, JsonSchema(TEXT)),
    ({"format": {"regex": "a"}}, Regex("a")),
    ({"format": {"ebnf": "root ::= x"}}, Grammar("root ::= x", "ebnf")),
    ({"choices": ["a"]}, Choice(("a",))),
    ({"json_schema": TEXT, "whitespace": "compact"}, JsonSchema(TEXT, "compact")),
    ({"json_schema": TEXT, "on_unsupported": "verify"}, JsonSchema(TEXT, on_unsupported="verify")),
    ({"regex": "a", "close": True}, Closing(Regex("a"))),
    ({"regex": "a", "close": False, "on_unsupported": "error"}, Regex("a")),
    ({"close": False}, None),
    (
        {"json_schema": TEXT, "close": True, "whitespace": "flexible", "on_unsupported": "verify"},
        Closing(JsonSchema(TEXT, "flexible", on_unsupported="verify")),
    ),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA, "on_unsupported": "verify"}}},
        JsonSchema(TEXT, on_unsupported="verify"),
    ),
    ({"response_format": {"type": "json_object", "close": True}}, Closing(JsonObject())),
    ({"structured_outputs": {"json": SCHEMA, "whitespace": "compact"}}, JsonSchema(TEXT, "compact")),
    (
        {"response_format": {"type": "structural_tag", "format": {"type": "any_text"}, "close": True}},
        Closing(StructuralTag('{"type": "structural_tag", "format": {"type": "any_text"}}')),
    ),
]


@pytest.mark.parametrize(("fields", "constraint"), READ, ids=lambda value: str(value)[:60])
def test_each_spelling_is_read(fields: dict, constraint: object) -> None:
    assert constraint_from_fields(fields) == constraint


WHITE_SPACE_TWICE = ("guided_whitespace_pattern", "conflicting_constraints")
REFUSED = [
    ({"regex": 5}, "regex", None),
    ({"regex": "a", "ebnf": "b"}, None, "conflicting_constraints"),
    ({"response_format": {"type": "json_object"}, "regex": "a"}, None, "conflicting_constraints"),
    ({"structured_outputs": {"json": SCHEMA, "regex": "a"}}, "structured_outputs", "conflicting_constraints"),
    ({"structured_outputs": {"jsn": SCHEMA}}, "structured_outputs.jsn", None),
    ({"structured_outputs": {}}, "structured_outputs", None),
    (
        {"structured_outputs": {"json": SCHEMA, "whitespace_pattern": "[ ]+"}},
        "structured_outputs.whitespace_pattern",
        None,
    ),
    ({"response_format": "json"}, "response_format", None),
    ({"response_format": {}}, "response_format.type", None),
    ({"response_format": {"type": "yaml"}}, "response_format.type", None),
    ({"response_format": {"type": "json_schema"}}, "response_format.schema", None),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
        "response_format.json_schema.schema",
        None,
    ),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": 5}}},
        "response_format.json_schema.schema",
        None,
    ),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {}, "strict": "yes"}}},
        "response_format.json_schema.strict",
        None,
    ),
    ({"guided_choice": []}, "guided_choice", None),
    ({"guided_choice": ["a", 5]}, "guided_choice.1", None),
    ({"choices": "abc"}, "choices", None),
    ({"format": "yaml"}, "format", None),
    ({"json_schema": [1]}, "json_schema", None),
    ({"close": True}, "close", None),
    ({"whitespace": "fixed"}, "whitespace", None),
    ({"guided_whitespace_pattern": " ?"}, "guided_whitespace_pattern", None),
    ({"regex": "a", "whitespace": "fixed"}, "whitespace", None),
    ({"regex": "a", "guided_whitespace_pattern": " ?"}, "guided_whitespace_pattern", None),
    ({"regex": "a", "on_unsupported": "verify"}, "on_unsupported", None),
    ({"regex": "a", "close": "yes"}, "close", None),
    ({"json_schema": TEXT, "whitespace": "none"}, "whitespace", None),
    ({"json_schema": TEXT, "on_unsupported": "ignore"}, "on_unsupported", None),
    ({"response_format": {"type": "json_object", "schem": SCHEMA}}, "response_format.schem", None),
    ({"response_format": {"type": "text", "regex": "a"}}, "response_format.regex", None),
    ({"response_format": {"type": "regex", "pattern": "a", "flags": "i"}}, "response_format.flags", None),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA, "schemas": []}}},
        "response_format.json_schema.schemas",
        None,
    ),
    ({"structured_outputs": {"json": SCHEMA, "backend": "xgrammar"}}, "structured_outputs.backend", None),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}, "schema": {"type": "null"}}},
        "response_format.schema",
        None,
    ),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}, "strict": True}},
        "response_format.strict",
        None,
    ),
    ({"response_format": {"type": "regex", "regex": "a", "pattern": "b"}}, "response_format.regex", None),
    ({"response_format": {"type": "text", "close": True}}, "response_format.close", None),
    ({"response_format": {"type": "gbnf", "gbnf": ""}, "regex": "a"}, None, "conflicting_constraints"),
    ({"output_config": {"schema": SCHEMA}}, "output_config.schema", None),
    ({"format": True}, "format", None),
    (
        {"response_format": {"type": "json_object", "whitespace": "compact"}, "whitespace": "flexible"},
        "whitespace",
        "conflicting_constraints",
    ),
    ({"json_schema": TEXT, "whitespace": "compact", "guided_whitespace_pattern": " ?"}, *WHITE_SPACE_TWICE),
    ({"response_format": {"type": "json_object", "close": True}, "close": False}, "close", "conflicting_constraints"),
    (
        {"structured_outputs": {"json": SCHEMA, "whitespace": "fixed", "disable_any_whitespace": True}},
        "structured_outputs.disable_any_whitespace",
        "conflicting_constraints",
    ),
    (
        {"structured_outputs": {"regex": "a", "disable_any_whitespace": True}},
        "structured_outputs.disable_any_whitespace",
        None,
    ),
    ({"json_schema": TEXT, "guided_whitespace_pattern": "a{99999999999}"}, "guided_whitespace_pattern", None),
    ({"json_schema": TEXT, "guided_whitespace_pattern": "(?: ?| ??){60}x"}, "guided_whitespace_pattern", None),
    ({"json_schema": TEXT, "guided_whitespace_pattern": r"( )\1"}, "guided_whitespace_pattern", None),
    (
        {"json_schema": TEXT, "guided_whitespace_pattern": "(" * 50_000 + ")" * 50_000},
        "guided_whitespace_pattern",
        "grammar_too_large",
    ),
]


@pytest.mark.parametrize(("fields", "param", "code"), REFUSED, ids=lambda value: str(value)[:60])
def test_what_is_not_understood_is_refused_with_its_path(fields: dict, param: str | None, code: str | None) -> None:
    with pytest.raises(GrammarError) as caught:
        constraint_from_fields(fields)
    assert caught.value.status == 400
    assert caught.value.param == param
    assert code is None or caught.value.code == code


def test_an_error_of_compiling_is_put_where_the_constraint_stood() -> None:
    found = find_constraint({"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}})
    assert found is not None
    error = UnsupportedGrammar("no", keyword="not", pointer="#/properties/a~1b/not")
    assert locate(error, found.param).param == "response_format.json_schema.schema.properties.a/b.not"
