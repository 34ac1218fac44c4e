import json
import re

import pytest

PATH = "/v1/grammar/check"
DTD = "<!ELEMENT a (b, b)><!ELEMENT b (#PCDATA)>"


def test_a_constraint_is_checked_without_a_token_being_made(serve):
    client = serve(reply=b"a")
    told = client.post(PATH, {"regex": "a+"}).json()
    assert (told["ok"], told["kind"], told["engine"], told["is_finite"]) == (True, "Regex", "automaton", False)
    assert re.fullmatch("a+", told["example"])
    assert told["num_bytes"] > 0
    assert not client.submits


@pytest.mark.parametrize(
    ("fields", "text", "num_bytes"),
    [
        ({"regex": "[0-9]{4}-[0-9]{2}"}, "2024-13", None),
        ({"regex": "[0-9]{4}-[0-9]{2}"}, "2024/13", 4),
        ({"json_schema": {"type": "integer"}}, "12", None),
        ({"json_schema": {"type": "integer"}}, "1x", 1),
        ({"response_format": {"type": "xml", "xml": DTD}}, "<a><b>1</b><b></b></a>", None),
        ({"xml": DTD}, "<a><b>1</b></a>", 12),
        ({"guided_choice": ["one", "two"]}, "on", 2),
        ({"ebnf": 'root ::= "(" root ")" | "x"'}, "((x))", None),
    ],
)
def test_a_text_is_accepted_or_told_where_it_fails(serve, fields, text, num_bytes):
    told = serve().post(PATH, {**fields, "text": text}).json()["text"]
    assert told["is_accepted"] == (num_bytes is None)
    assert told["num_bytes"] == (len(text) if num_bytes is None else num_bytes)
    assert bool(told["expected"]) == (num_bytes is not None)


def test_members_are_drawn_by_seed_and_the_grammar_is_told(serve):
    client = serve()
    asked = {"json_schema": {"enum": ["a", "b", 1]}, "samples": 5, "seed": 3, "explain": True}
    one, other = (client.post(PATH, asked).json() for _ in range(2))
    assert one["samples"] == other["samples"]
    assert len(one["samples"]) == 5
    assert {json.loads(text) for text in one["samples"]} <= {"a", "b", 1}
    assert json.loads(one["grammar"])["enum"] == ["a", "b", 1]


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format.json_schema.schema", None),
        (
            {"json_schema": {"type": "string", "minLength": 5, "maxLength": 2}},
            "json_schema.minLength",
            "unsatisfiable_schema",
        ),
        ({"json_schema": {"properties": {"a": {"type": "strin"}}}}, "json_schema.properties.a.type", "invalid_schema"),
        ({"regex": "(a"}, "regex", "invalid_schema"),
        ({"ebnf": "root ::= x"}, "ebnf", "invalid_schema"),
        ({"xml": "<!ELEMENT a (b)>"}, "xml", "invalid_schema"),
        ({"regex": "a", "ebnf": 'root ::= "a"'}, None, "conflicting_constraints"),
    ],
)
def test_what_cannot_be_served_says_where_and_why(serve, fields, param, code):
    told = serve().post(PATH, fields).json()
    assert not told["ok"]
    assert told["error"]["param"] == param
    assert code is None or told["error"]["code"] == code
    if param in ("regex", "ebnf"):
        assert (told["error"]["line"], told["error"]["column"] > 0) == (1, True)


@pytest.mark.parametrize(
    ("body", "param"), [({}, None), ({"regex": "a", "samples": 1000}, "samples"), ({"regex": "a", "text": 5}, "text")]
)
def test_bad_requests(serve, body, param):
    answer = serve().post(PATH, body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
