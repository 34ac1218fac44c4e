"""Every spelling of a constraint, in every API: the engine gets it, and nothing is dropped."""

import json

import pytest

from radixlang.constrained.constraint import Choice, Grammar, JsonObject, JsonSchema, Regex, StructuralTag, Xml
from radixlang.runtime.messages import Finish

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


UNREAD = [
    ({"extra_body": {"guided_json": SCHEMA}}, "extra_body.guided_json"),
    ({"guided_decoding": {"json": SCHEMA}}, "guided_decoding"),
    ({"response_schema": SCHEMA}, "response_schema"),
    ({"options": {"format": "json"}}, "options.format"),
]
CHAT = {"messages": [{"role": "user", "content": "a"}]}
BODIES = {
    "/generate": {"text": "a"},
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"prompt": "a"},
    "/v1/responses": {"input": "a"},
    "/v1/messages": {**CHAT, "max_tokens": 4},
    "/api/chat": {**CHAT, "stream": False},
    "/api/generate": {"prompt": "a", "stream": False},
    "/invocations": {"prompt": "a"},
    "/v1/embeddings": {"input": "a"},
    "/encode": {"text": "a"},
    "/score_choices": {"text": "a", "choices": ["a", "b"]},
}


@pytest.mark.parametrize("api", BODIES)
def test_constraints_that_nothing_reads_are_refused(serve, api):
    client = serve()
    for fields, path in UNREAD:
        answer = client.post(api, {**BODIES[api], **fields})
        told = answer.json()["error"]
        assert answer.status_code == 400, fields
        assert path in (told if isinstance(told, str) else told["message"]), fields
        if not isinstance(told, str) and "code" in told:
            assert (told["param"], told["code"]) == (path, "unsupported_field")
    assert not client.submits


def test_the_fields_of_a_vertex_instance_are_not_passed_over(serve):
    client = serve()
    for body in (
        {"instances": [{"text": "a", "regex": "a"}]},
        {"instances": [{"text": "a"}], "parameters": {"regex": "a"}},
    ):
        answer = client.post("/vertex_generate", body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "instances.0.regex")
    assert not client.submits


def test_the_text_object_of_responses_holds_a_format_alone(serve):
    answer = serve().post("/v1/responses", {"input": "a", "text": {"schema": SCHEMA}})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "text.schema")


@pytest.mark.parametrize(
    ("sampling", "param"),
    [
        ({"regex": 5}, "sampling_params.regex"),
        ([{}, {"response_format": {"type": "yaml"}}], "sampling_params.1.response_format.type"),
    ],
)
def test_errors_of_the_native_api_have_the_whole_path(serve, sampling, param):
    text = ["a", "b"] if isinstance(sampling, list) else "a"
    answer = serve().post("/generate", {"text": text, "sampling_params": sampling})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_places_that_the_engine_finds_are_told_down_to_the_keyword(serve):
    finish = Finish(type="error", status=400, code="unsatisfiable_schema", param="#/minLength", message="no")
    form = {"type": "json_schema", "json_schema": {"schema": SCHEMA}}
    for native, text in (({"response_format": form}, "a"), ([{}, {"response_format": form}], ["a", "b"])):
        answer = serve(finish=finish).post("/generate", {"text": text, "sampling_params": native})
        assert answer.status_code == 400
        if isinstance(native, dict):
            assert answer.json()["error"]["param"] == "sampling_params.response_format.json_schema.schema.minLength"


def test_two_types_at_once_are_refused(serve):
    answer = serve().post("/generate", {"text": "a", "sampling_params": {"dtype": "int", "regex": "[a-z]"}})
    assert answer.status_code == 400
