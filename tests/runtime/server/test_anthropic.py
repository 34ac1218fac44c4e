"""Anthropic's messages: blocks, stop reasons, the order of events."""

import json

import pytest

from radixlang.constrained.constraint import JsonSchema

PATH = "/v1/messages"
HI = [{"role": "user", "content": "hi"}]
TOOLS = [{"name": "f", "description": "d", "input_schema": {"type": "object"}}]
CALL = b'<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>'


def events(client, body):
    answer = client.post(PATH, {"messages": HI, "max_tokens": 200, **body, "stream": True})
    assert answer.status_code == 200, answer.text
    told = []
    for block in answer.text.split("\n\n")[:-1]:
        name, data = block.split("\n")
        told.append(json.loads(data.removeprefix("data: ")))
        assert told[-1]["type"] == name.removeprefix("event: ")
    return told


def test_a_whole_message(serve):
    told = serve(reply=b"hello").post(PATH, {"messages": HI, "max_tokens": 3}).json()
    assert (told["type"], told["role"]) == ("message", "assistant")
    assert told["content"] == [{"type": "text", "text": "hel"}]
    assert (told["stop_reason"], told["stop_sequence"]) == ("max_tokens", None)
    assert set(told["usage"]) >= {
        "input_tokens",
        "output_tokens",
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
    }


def test_stop_reasons(serve, stop_with):
    body = {"messages": HI, "max_tokens": 9, "stop_sequences": ["b"]}
    told = serve(reply=b"ab", finish=stop_with("b")).post(PATH, body).json()
    assert (told["stop_reason"], told["stop_sequence"]) == ("stop_sequence", "b")
    assert serve(reply=b"ab", finish=stop_with()).post(PATH, body).json()["stop_reason"] == "end_turn"


def test_the_order_of_events_of_text(serve):
    told = events(serve(reply="héy".encode()), {})
    kinds = [t["type"] for t in told]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(kinds[2:-3]) == {"content_block_delta"}
    assert "".join(t["delta"]["text"] for t in told[2:-3]) == "héy"
    assert told[0]["message"]["usage"]["input_tokens"] > 0
    assert told[-2]["usage"]["output_tokens"] == 4
    assert told[-2]["delta"]["stop_reason"] == "max_tokens"


def test_tool_use_whole_and_streamed(serve, stop_with):
    client = serve(reply=b"So: " + CALL, finish=stop_with())
    told = client.post(PATH, {"messages": HI, "max_tokens": 200, "tools": TOOLS}).json()
    text, use = told["content"]
    assert (text["text"], use["name"], use["input"], told["stop_reason"]) == ("So:", "f", {"a": 1}, "tool_use")
    streamed = events(client, {"tools": TOOLS})
    starts = [t["content_block"] for t in streamed if t["type"] == "content_block_start"]
    assert [s["type"] for s in starts] == ["text", "tool_use"]
    assert [t["index"] for t in streamed if t["type"] == "content_block_stop"] == [0, 1]
    pieces = [t["delta"]["partial_json"] for t in streamed if t.get("delta", {}).get("type") == "input_json_delta"]
    assert json.loads("".join(pieces)) == {"a": 1}
    assert streamed[-2]["delta"]["stop_reason"] == "tool_use"


@pytest.mark.parametrize(
    ("choice", "is_forced"), [({"type": "any"}, True), ({"type": "tool", "name": "f"}, True), ({"type": "auto"}, False)]
)
def test_tool_choices(serve, choice, is_forced):
    client = serve(reply=b"x")
    client.post(PATH, {"messages": HI, "max_tokens": 5, "tools": TOOLS, "tool_choice": choice})
    assert (client.submits[0].constraint is not None) == is_forced


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
FORMAT = {"type": "json_schema", "schema": SCHEMA}


@pytest.mark.parametrize(
    "fields",
    [
        {"output_format": FORMAT},
        {"output_config": {"format": FORMAT, "effort": "high"}},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_a_format_is_a_constraint(serve, fields):
    client = serve(reply=b"x")
    assert client.post(PATH, {"messages": HI, "max_tokens": 5, **fields}).status_code == 200
    assert client.submits[0].constraint == JsonSchema(json.dumps(SCHEMA))


@pytest.mark.parametrize(
    "fields",
    [
        {"output_format": FORMAT, "output_config": {"format": FORMAT}},
        {"output_format": FORMAT, "tools": TOOLS, "tool_choice": {"type": "any"}},
        {"output_format": {"type": "json"}},
        {"output_format": {"type": "json_schema"}},
        {"output_config": {"format": "json"}},
        {"format": "json"},
    ],
)
def test_a_constraint_that_cannot_be_obeyed_is_refused(serve, fields):
    client = serve(reply=b"x")
    answer = client.post(PATH, {"messages": HI, "max_tokens": 5, **fields})
    assert answer.status_code == 400
    assert client.submits == []


def test_an_effort_is_no_constraint(serve):
    client = serve(reply=b"x")
    client.post(PATH, {"messages": HI, "max_tokens": 5, "output_config": {"effort": "low"}})
    assert client.submits[0].constraint is None


def test_system_blocks_and_results_become_a_conversation(serve, byte_tokenizer):
    client = serve()
    conversation = [
        {"role": "user", "content": [{"type": "text", "text": "Q", "cache_control": {"type": "ephemeral"}}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {}}]},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "R"}]}],
        },
    ]
    body = {"messages": conversation, "system": [{"type": "text", "text": "S"}], "max_tokens": 5}
    assert client.post(PATH, body).status_code == 200
    text = byte_tokenizer.decode(client.submits[0].token_ids)
    assert text.startswith("<system>S</system><user>Q</user><assistant>")
    assert "<tool>R</tool>" in text
    count = client.post(f"{PATH}/count_tokens", {k: v for k, v in body.items() if k != "max_tokens"}).json()
    assert count == {"input_tokens": len(client.submits[0].token_ids)}


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({"messages": HI}, 400, "invalid_request_error"),
        ({"messages": HI, "max_tokens": 0}, 400, "invalid_request_error"),
        ({"messages": [], "max_tokens": 5}, 400, "invalid_request_error"),
        ({"messages": [{"role": "system", "content": "x"}], "max_tokens": 5}, 400, "invalid_request_error"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image"}]}], "max_tokens": 5},
            400,
            "invalid_request_error",
        ),
        ({"messages": HI, "max_tokens": 5, "model": "nope"}, 404, "not_found_error"),
        ({"messages": HI, "max_tokens": 5, "temperature": -1}, 400, "invalid_request_error"),
        ({"messages": HI, "max_tokens": 5, "tool_choice": {"type": "any"}}, 400, "invalid_request_error"),
    ],
)
def test_errors_have_anthropics_shape(serve, body, status, kind):
    answer = serve().post(PATH, body)
    assert answer.status_code == status
    assert (answer.json()["type"], answer.json()["error"]["type"]) == ("error", kind)


def test_thoughts_are_blocks_of_their_own(serve):
    template = "{% for m in messages %}{{ m.content.split('</think>')[-1] }}{% endfor %}A:<think>\n"
    client = serve(reply=b"well\n</think>\n\nIt is.", info={"chat_template": template})
    body = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 60}
    content = client.post("/v1/messages", body).json()["content"]
    assert content == [{"type": "thinking", "thinking": "well", "signature": ""}, {"type": "text", "text": "It is."}]
    answer = client.post("/v1/messages", {**body, "stream": True})
    told = [json.loads(block.split("data: ")[1]) for block in answer.text.split("\n\n") if "data: " in block]
    starts = [(e["index"], e["content_block"]["type"]) for e in told if e["type"] == "content_block_start"]
    assert starts == [(0, "thinking"), (1, "text")]
    assert [e["index"] for e in told if e["type"] == "content_block_stop"] == [0, 1]
    deltas = [e["delta"] for e in told if e["type"] == "content_block_delta"]
    assert "".join(d.get("thinking", "") for d in deltas) == "well"
    assert "".join(d.get("text", "") for d in deltas) == "It is."
    whole = client.post("/v1/responses", {"input": "hi", "max_output_tokens": 60}).json()
    assert whole["output"][0]["content"][0]["text"] == "It is."
