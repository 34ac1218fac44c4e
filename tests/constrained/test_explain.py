import json
import re

import pytest
from jsonschema import Draft202012Validator

from radixlang.constrained.constraint import Choice, Grammar, JsonObject, JsonSchema, Regex, StructuralTag
from radixlang.constrained.explain import accepts, check, explain, sample, samples

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}, "required": ["a"]}


def test_a_valid_constraint_is_reported_with_an_example(compiler) -> None:
    report = check(Regex("[ab]{2,4}"), compiler, text="abc")
    assert (report.is_valid, report.engine, report.is_finite, report.num_states) == (True, "automaton", True, 5)
    assert re.fullmatch("[ab]{2,4}", report.example)
    assert report.text is not None
    assert (report.text.is_accepted, report.text.num_bytes) == (False, 2)
    assert set(report.text.expected) >= {"a", "b"}
    assert check(Regex("a*"), compiler).is_finite is False


def test_an_invalid_one_is_reported_with_its_place(compiler) -> None:
    report = check(JsonSchema('{"properties":{"a":{"type":"strin"}}}'), compiler)
    assert not report.is_valid
    assert report.error["code"] == "invalid_schema"
    assert (report.error["keyword"], report.error["pointer"]) == ("type", "#/properties/a/type")
    assert check(Regex("([a"), compiler).error["column"] == 2


@pytest.mark.parametrize("seed", range(8))
def test_examples_are_answers(compiler, vocabulary, seed: int) -> None:
    text = sample(compiler.compile(JsonSchema(json.dumps(SCHEMA))), vocabulary, seed)
    if text is not None:
        Draft202012Validator(SCHEMA).validate(json.loads(text))


@pytest.mark.parametrize(
    ("text", "is_accepted", "num_bytes"),
    [('{"a": 1}', True, 8), ('{"a": 1', False, 7), ('{"a": "x"}', False, 6), ("[", False, 0), ('{"a": 1}x', False, 8)],
)
def test_where_a_text_fails_is_found(compiler, vocabulary, text: str, is_accepted: bool, num_bytes: int) -> None:
    found = accepts(
        compiler.compile(JsonSchema(json.dumps({**SCHEMA, "additionalProperties": False}))), vocabulary, text
    )
    assert (found.is_accepted, found.num_bytes) == (is_accepted, num_bytes)
    assert bool(found.expected) != (is_accepted or text.endswith("x"))


def test_what_is_enforced_can_be_read() -> None:
    assert json.loads(explain(JsonSchema('{"not":{"type":"string"},"title":"t"}')))["type"]
    assert "start:" in explain(Grammar('root ::= "(" root ")" | "x"'))
    assert "%json" in explain(StructuralTag('{"triggers":["<f"],"structures":[{"begin":"<f","schema":{},"end":""}]}'))
    assert "root" in explain(Grammar('root ::= "x"'))
    assert "choices" in explain(Choice(("a",)))
    assert "whitespace" in explain(JsonObject())


@pytest.mark.parametrize(
    ("schema", "text", "num_bytes", "expected"),
    [
        ({"type": "array", "items": {"type": "integer"}, "uniqueItems": True}, "[1, 1]", 5, "2"),
        ({"type": "array", "contains": {"type": "integer"}}, '["a"]', 4, ","),
    ],
)
def test_where_a_judge_refuses_a_text_is_found(compiler, vocabulary, schema, text, num_bytes, expected) -> None:
    found = accepts(compiler.compile(JsonSchema(json.dumps(schema))), vocabulary, text)
    assert (found.is_accepted, found.num_bytes) == (False, num_bytes)
    assert expected in found.expected
    assert "]" not in found.expected


LINES = 'root ::= item+\nitem ::= "- " [^\\r\\n]+ "\\n"'
SUMS = """root  ::= (expr "=" ws term "\\n")+
expr  ::= term ([-+*/] term)*
term  ::= ident | num | "(" ws expr ")" ws
ident ::= [a-z] [a-z0-9_]* ws
num   ::= [0-9]+ ws
ws    ::= [ \\t\\n]*"""
QUERY = 'start: "SELECT " name ("," name)* " FROM " name\nname: /[a-z]+/'


@pytest.mark.parametrize(
    "constraint",
    [
        Grammar(LINES),
        Grammar(SUMS),
        Grammar(QUERY, "lark"),
        JsonSchema('{"type": "array", "items": {"type": "integer"}, "uniqueItems": true}'),
        JsonSchema('{"type": "array", "contains": {"type": "integer"}}'),
    ],
    ids=["lines", "sums", "query", "unique", "contains"],
)
def test_examples_of_what_closes_by_more_than_brackets_are_found(compiler, vocabulary, constraint) -> None:
    grammar = compiler.compile(constraint)
    drawn = samples(grammar, vocabulary, 4)
    assert len(drawn) == 4
    assert all(accepts(grammar, vocabulary, text).is_accepted for text in drawn)
