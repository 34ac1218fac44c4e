"""Every spelling of a constraint, in every API: the engine gets it, and nothing is dropped."""

import json

import pytest

from radixlang.constrained.constraint import Choice, Grammar, JsonObject, JsonSchema, Regex, StructuralTag, Xml

SCHEMA = {"type": "object", "additionalProperties": False}
EBNF, LARK = 'root ::= "a"', 'start: "a"'
TAG = {"type": "structural_tag", "format": {"type": "const_string", "value": "a"}}
SPELLINGS = [
    ({"regex": "a"}, Regex),
    ({"ebnf": EBNF}, Grammar),
    ({"grammar": EBNF}, Grammar),
    ({"gbnf": EBNF}, Grammar),
    ({"lark": LARK}, Grammar),
    ({"json_schema": json.dumps(SCHEMA)}, JsonSchema),
    ({"structural_tag": json.dumps(TAG)}, StructuralTag),
    ({"xml": "<!ELEMENT a EMPTY>"}, Xml),
    ({"choices": ["a"]}, Choice),
    ({"guided_json": SCHEMA}, JsonSchema),
    ({"guided_regex": "a"}, Regex),
    ({"guided_choice": ["a"]}, Choice),
    ({"guided_grammar": LARK}, Grammar),
    ({"structured_outputs": {"grammar": LARK}}, Grammar),
    ({"structured_outputs": {"json_object": True}}, JsonObject),
    ({"response_format": {"type": "json_object"}}, JsonObject),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}}, JsonSchema),
    ({"response_format": {"type": "lark", "lark": LARK}}, Grammar),
    ({"response_format": TAG}, StructuralTag),
]


def ask(api: str, fields: dict) -> tuple[str, dict]:
    if api == "/generate":
        return api, {"text": "a", "sampling_params": fields}
    if api == "/v1/chat/completions":
        return api, {"messages": [{"role": "user", "content": "a"}], **fields}
    return api, {("prompt" if api == "/v1/completions" else "input"): "a", **fields}


APIS = ["/generate", "/v1/chat/completions", "/v1/completions", "/v1/responses"]


@pytest.mark.parametrize("api", APIS)
def test_every_spelling_reaches_the_engine(serve, api):
    client = serve()
    for fields, kind in SPELLINGS:
        assert client.post(*ask(api, fields)).status_code == 200, fields
        assert isinstance(client.submits[-1].constraint, kind), fields


@pytest.mark.parametrize("api", APIS)
def test_two_at_once_are_refused(serve, api):
    answer = serve().post(*ask(api, {"regex": "a", "guided_choice": ["a"]}))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "conflicting_constraints")


def test_a_text_format_beside_another_is_refused(serve):
    answer = serve().post("/v1/responses", {"input": "a", "regex": "a", "text": {"format": {"type": "json_object"}}})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "conflicting_constraints")
