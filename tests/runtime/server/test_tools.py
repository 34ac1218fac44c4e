"""Tool calls: read from whole answers and from streams, however the stream is cut."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radixlang.constrained.constraint import JsonSchema
from radixlang.runtime.server.tool_parsers import parse
from radixlang.runtime.server.tools import ToolStream, plan_tools, read

PATH = "/v1/chat/completions"
HI = [{"role": "user", "content": "hi"}]
TOOLS = [
    {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {}}}}},
    {"type": "function", "function": {"name": "g"}},
]
CALL = '<tool_call>{"name": "f", "arguments": {"a": "}"}}</tool_call>'


@pytest.mark.parametrize(
    ("parser", "text", "rest", "names"),
    [
        ("qwen25", f"Sure. {CALL}", "Sure.", ["f"]),
        ("hermes", CALL + "\n" + CALL, "", ["f", "f"]),
        ("qwen25", '<tool_call>\n{"name": "f", "arguments": {}}', "", ["f"]),
        (
            "llama3",
            '<|python_tag|>{"name": "f", "parameters": {"a": 1}}; {"name": "g", "parameters": {}}',
            "",
            ["f", "g"],
        ),
        ("mistral", '[TOOL_CALLS] [{"name": "f", "arguments": {"a": 1}}]', "", ["f"]),
        ("json", '[{"name": "f", "arguments": "{}"}]', "", ["f"]),
        ("auto", "no call at all {", "no call at all {", []),
        ("qwen25", "<tool_call>not json</tool_call>", "<tool_call>not json</tool_call>", []),
        (
            "qwen25",
            '<tool_call>{"name": "f", "arguments": 5}</tool_call>',
            '<tool_call>{"name": "f", "arguments": 5}</tool_call>',
            [],
        ),
    ],
)
def test_formats_of_calls(parser, text, rest, names):
    parsed = parse(text, parser)
    assert (parsed.text, [c.name for c in parsed.calls]) == (rest, names)
    assert all(isinstance(json.loads(c.arguments), dict) for c in parsed.calls)


def test_calls_of_unknown_tools_stay_text():
    assert parse(CALL, "auto", frozenset({"g"})).text == CALL


def streamed(plan, pieces):
    """What a client puts together from the deltas: text, and per call its name and arguments."""
    stream = ToolStream(plan)
    deltas = [d for piece in pieces for d in stream.push(piece)] + stream.finish()
    calls = {}
    for delta in deltas:
        assert delta.get("content") != ""
        for call in delta.get("tool_calls", []):
            if "id" in call:
                assert call["index"] == len(calls)
                assert call["type"] == "function"
                calls[call["index"]] = [call["function"]["name"], ""]
            calls[call["index"]][1] += call["function"].get("arguments", "")
    return "".join(d.get("content", "") for d in deltas), [tuple(c) for c in calls.values()]


def cuts(text):
    return st.lists(st.integers(0, len(text)), max_size=12).map(
        lambda at: [text[a:b] for a, b in zip([0, *sorted(at)], [*sorted(at), len(text)], strict=True)]
    )


FREE = [
    "plain text", f"Sure. {CALL}", CALL + CALL, "a < b <tool", "<tool_call>junk</tool_call> after", "{not a call}",
    '{"name": "f", "arguments": {}}', "", f"x{CALL}y", "<tool_call>{", '[TOOL_CALLS] [{"name": "g", "arguments": {}}]',
]  # fmt: skip


@given(st.data())
def test_a_stream_is_its_whole_answer_however_it_is_cut(data):
    plan = plan_tools(TOOLS, "auto")
    text = data.draw(st.sampled_from(FREE))
    whole = streamed(plan, [text])
    assert streamed(plan, data.draw(cuts(text))) == whole
    parsed = read(text, plan)
    assert whole[1] == [(c.name, c.arguments) for c in parsed.calls]
    assert whole[0].split() == parsed.text.split()


FORCED = [
    '{"name": "f", "arguments": {"a": {"b": "}"}}}',
    '{ "name" : "g" , "arguments" : {} }',
    '{"name":"f","arguments":{"a":1}}\n',
]


@given(st.data())
def test_a_forced_call_is_streamed_in_pieces(data):
    plan = plan_tools(TOOLS, "required")
    text = data.draw(st.sampled_from(FORCED))
    parsed = read(text, plan)
    _, calls = streamed(plan, data.draw(cuts(text)))
    assert [(n, json.loads(a)) for n, a in calls] == [(c.name, json.loads(c.arguments)) for c in parsed.calls]
    assert json.loads(calls[0][1]) == json.loads(text)["arguments"]


def test_required_and_named_are_constraints(serve):
    client = serve(reply=b"x")
    for choice, names in (("required", ["f", "g"]), ({"type": "function", "function": {"name": "g"}}, ["g"])):
        client.post(PATH, {"messages": HI, "tools": TOOLS, "tool_choice": choice})
        constraint = client.submits[-1].constraint
        assert isinstance(constraint, JsonSchema)
        schema = json.loads(constraint.schema)
        options = schema.get("anyOf", [schema])
        assert [o["properties"]["name"]["const"] for o in options] == names


def test_auto_and_none_constrain_nothing(serve):
    client = serve(reply=b"x")
    for choice in (None, "auto", "none"):
        client.post(PATH, {"messages": HI, "tools": TOOLS, "tool_choice": choice})
        assert client.submits[-1].constraint is None


def test_a_template_without_tools_gets_them_as_text(serve, byte_tokenizer):
    client = serve(reply=b"x")
    client.post(PATH, {"messages": HI, "tools": TOOLS})
    assert '"name": "f"' in byte_tokenizer.decode(client.submits[-1].token_ids)
    client.post(PATH, {"messages": HI, "tools": TOOLS, "tool_choice": "none"})
    assert '"name": "f"' not in byte_tokenizer.decode(client.submits[-1].token_ids)


def test_answers_with_calls(serve, stop_with):
    client = serve(reply=CALL.encode(), finish=stop_with())
    body = {"messages": HI, "tools": TOOLS, "max_tokens": 200}
    (choice,) = client.post(PATH, body).json()["choices"]
    (call,) = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert (call["type"], call["function"]) == ("function", {"name": "f", "arguments": '{"a": "}"}'})
    assert call["id"].startswith("call_")
    events = client.events(PATH, body)
    assert events[-1]["choices"][0]["finish_reason"] == "tool_calls"
    deltas = [d for e in events for c in e["choices"] for d in c["delta"].get("tool_calls", [])]
    assert deltas[0]["function"]["name"] == "f"
    assert not any(c["delta"].get("content") for e in events for c in e["choices"])


def test_parse_function_call_route(serve):
    body = {"text": CALL, "tool_call_parser": "qwen25", "tools": TOOLS}
    told = serve().post("/parse_function_call", body).json()
    assert told == {"normal_text": "", "calls": [{"tool_index": 0, "name": "f", "parameters": '{"a": "}"}'}]}
