"""What tools mean for a request, and calls in streams, however the stream is cut."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radixlang.constrained.constraint import JsonSchema, StructuralTag
from radixlang.errors import ConfigError, GrammarError, RequestError
from radixlang.runtime.config import ServerConfig
from radixlang.runtime.server.tools.forms import FORMS, PYTHONIC
from radixlang.runtime.server.tools.parsers import PARSERS
from radixlang.runtime.server.tools.plan import plan_tools, read
from radixlang.runtime.server.tools.stream import ToolStream

PATH = "/v1/chat/completions"
HI = [{"role": "user", "content": "hi"}]
TOOLS = [
    {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {}}}}},
    {"type": "function", "function": {"name": "g"}},
]
DEEP = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>"
DEEP_END = "<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
CALL = '<tool_call>{"name": "f", "arguments": {"a": "}"}}</tool_call>'
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
STRICT = [{"type": "function", "function": {"name": "f", "parameters": SCHEMA, "strict": True}}, TOOLS[1]]
FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}


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
    '{"name": "f", "arguments": {}}', "", f"x{CALL}y", "<tool_call>{", f"x {DEEP}f<｜tool▁sep｜>{{}}{DEEP_END}",
    'x [TOOL_CALLS]g[ARGS]{}',
    '[TOOL_CALLS] [{"name": "g", "arguments": {}}]',
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


def test_required_and_named_are_constraints(serve):
    client = serve(reply=b"x")
    for choice, names in (("required", ["f", "g"]), ({"type": "function", "function": {"name": "g"}}, ["g"])):
        client.post(PATH, {"messages": HI, "tools": TOOLS, "tool_choice": choice})
        constraint = client.submits[-1].constraint
        assert isinstance(constraint, StructuralTag)
        form = json.loads(constraint.spec)["format"]
        assert form["at_least_one"]
        assert form["stop_after_first"]
        assert [json.loads(tag["begin"].removeprefix("<tool_call>") + "{}}")["name"] for tag in form["tags"]] == names


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


@pytest.mark.parametrize("path", [PATH, "/v1/messages"])
def test_a_stop_within_a_call_does_not_make_it_look_whole(serve, stop_with, path):
    client = serve(reply=CALL[: CALL.index("}")].encode(), finish=stop_with("}"))
    tool = {"name": "f", "input_schema": SCHEMA} if path != PATH else STRICT[0]
    choice = {"type": "any"} if path != PATH else "required"
    body = {"messages": HI, "tools": [tool], "tool_choice": choice, "max_tokens": 200}
    told = client.post(path, body).json()
    if path == PATH:
        assert told["choices"][0]["message"]["tool_calls"]
        assert told["choices"][0]["finish_reason"] == "stop"
        assert client.events(path, body)[-1]["choices"][0]["finish_reason"] == "stop"
    else:
        assert (told["stop_reason"], told["stop_sequence"]) == ("stop_sequence", "}")
        assert '"stop_reason":"stop_sequence"' in client.post(path, {**body, "stream": True}).text


def test_tools_of_one_name_are_refused_unless_they_are_the_same():
    other = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
    with pytest.raises(RequestError) as told:
        plan_tools([*TOOLS, other], "required")
    assert told.value.param == "tools.2.function.name"
    assert plan_tools([*TOOLS, TOOLS[0]], "required").names == {"f", "g"}


@pytest.mark.parametrize("place", ["tools.0.strict", "tools.0.function.strict"])
def test_strict_is_true_or_false(place):
    tool = {"type": "function", "function": {"name": "f"}}
    (tool["function"] if "function" in place else tool)["strict"] = "yes"
    with pytest.raises(RequestError) as told:
        plan_tools([tool], "auto")
    assert told.value.param == place


def test_parse_function_call_route(serve):
    body = {"text": CALL, "tool_call_parser": "qwen25", "tools": TOOLS}
    told = serve().post("/parse_function_call", body).json()
    assert told == {"normal_text": "", "calls": [{"tool_index": 0, "name": "f", "parameters": '{"a": "}"}'}]}


def test_a_named_parser_says_how_calls_are_told_constrained_and_read(serve, byte_tokenizer, stop_with):
    client = serve(reply=b"[f(a=1)]", finish=stop_with(), server={"tool_call_parser": "pythonic"})
    body = {"messages": HI, "tools": STRICT, "max_tokens": 99}
    for choice in ("auto", "required"):
        (choice,) = client.post(PATH, {**body, "tool_choice": choice}).json()["choices"]
        assert [c["function"] for c in choice["message"]["tool_calls"]] == [{"name": "f", "arguments": '{"a": 1}'}]
        assert choice["finish_reason"] == "tool_calls"
    assert "[<name>(<argument>=<value>" in byte_tokenizer.decode(client.submits[-1].token_ids)
    (choice,) = client.post(PATH, {**body, "tools": TOOLS}).json()["choices"]
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a": 1}'}


def test_messages_of_channels_are_a_thought_text_and_calls(serve, stop_with):
    reply = (
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary<|message|>I ask.<|end|>"
        '<|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a": 1}'
    )
    parsers = {"tool_call_parser": "gpt-oss", "reasoning_parser": "gpt-oss"}
    client = serve(reply=reply.encode(), finish=stop_with(), server=parsers)
    body = {"messages": HI, "tools": TOOLS, "max_tokens": 400}
    (choice,) = client.post(PATH, body).json()["choices"]
    message = choice["message"]
    assert (message["reasoning_content"], message["content"], choice["finish_reason"]) == (
        "Hm.",
        "I ask.",
        "tool_calls",
    )
    assert [c["function"] for c in message["tool_calls"]] == [{"name": "f", "arguments": '{"a": 1}'}]
    told = [c["delta"] for e in client.events(PATH, body) for c in e["choices"]]
    assert "".join(d.get("reasoning_content", "") for d in told) == "Hm."
    assert "".join(d.get("content", "") for d in told) == "I ask."


def test_every_named_parser_has_a_form_and_a_reader():
    assert {"auto", *FORMS} == set(PARSERS)
    with pytest.raises(ConfigError, match=r"--tool-call-parser must be one of auto, deepseekv3, .*; found 'nonsense'"):
        ServerConfig(tool_call_parser="nonsense")


def test_earlier_calls_are_told_as_the_form_writes_them(serve, byte_tokenizer):
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": true, "b": "x"}'}}
    told = [*HI, {"role": "assistant", "content": None, "tool_calls": [call, call]}, {"role": "tool", "content": "7"}]
    for name, text in (
        ("pythonic", '[f(a=True, b="x"), f(a=True, b="x")]'),
        ("hermes", '<tool_call>{"name": "f", "arguments": {"a": true, "b": "x"}}</tool_call>\n<tool_call>'),
    ):
        client = serve(reply=b"x", server={"tool_call_parser": name})
        client.post(PATH, {"messages": told, "tools": TOOLS})
        assert text in byte_tokenizer.decode(client.submits[-1].token_ids)


def test_a_strict_tool_constrains_calls_on_every_route(serve):
    client = serve(reply=b"x", info={"max_context": 4096})
    function = {"name": "f", "parameters": SCHEMA}
    bodies = {
        PATH: {"messages": HI, "tools": STRICT},
        "/v1/responses": {"input": "hi", "tools": [{"type": "function", **function, "strict": True}]},
        "/v1/messages": {
            "messages": HI, "max_tokens": 9, "tools": [{"name": "f", "input_schema": SCHEMA, "strict": True}],
        },
        "/api/chat": {"messages": HI, "tools": STRICT, "stream": False},
    }  # fmt: skip
    for path, body in bodies.items():
        assert client.post(path, body).status_code == 200
        submit = client.submits[-1]
        assert isinstance(submit.constraint, StructuralTag), path
        tags = json.loads(submit.constraint.spec)["format"]["tags"]
        assert tags[0]["content"]["json_schema"] == SCHEMA
        assert tags[1:] == [] or tags[1]["content"]["json_schema"] == {"type": "object"}
        assert not submit.sampling.skip_special_tokens
    client.post(PATH, {"messages": HI, "tools": STRICT, "tool_choice": "auto", "parallel_tool_calls": False})
    assert json.loads(client.submits[-1].constraint.spec)["format"]["stop_after_first"]
    client.post(PATH, {"messages": HI, "tools": STRICT, "tool_choice": "none"})
    assert client.submits[-1].constraint is None


@pytest.mark.parametrize("tools", [STRICT, TOOLS])
def test_a_format_beside_tools_is_what_answers_without_a_call_have(serve, tools, stop_with):
    client = serve(reply=CALL.encode(), finish=stop_with(), info={"max_context": 4096})
    body = {"messages": HI, "tools": tools, "response_format": FORMAT, "max_tokens": 99}
    (choice,) = client.post(PATH, body).json()["choices"]
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a": "}"}'}
    calls, answer = json.loads(client.submits[-1].constraint.spec)["format"]["elements"]
    assert calls["tags"][0]["content"]["json_schema"] == (SCHEMA if tools is STRICT else {"type": "object"})
    assert json.loads(answer["json_schema"]) == SCHEMA
    client.post(PATH, {**body, "tool_choice": "none"})
    assert client.submits[-1].constraint == JsonSchema(json.dumps(SCHEMA))
    refused = client.post(PATH, {**body, "tool_choice": "required"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "conflicting_constraints")
    refused = client.post(PATH, {"messages": HI, "tools": tools, "ebnf": 'root ::= "a"'})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "ebnf")


def test_a_format_that_is_none_is_refused_in_its_place_beside_tools(serve):
    client = serve(reply=b"x", info={"max_context": 4096})
    for field, value, param in (
        ("json_schema", "{nonsense", "json_schema"),
        ("json_schema", '{"type": "nonsense"}', "json_schema.type"),
        ("regex", "(", "regex"),
    ):
        refused = client.post(PATH, {"messages": HI, "tools": TOOLS, field: value})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)
    assert not client.submits


@pytest.mark.parametrize("choice", ["auto", "required"])
def test_a_strict_schema_that_cannot_be_served_is_refused_in_place(serve, choice):
    client = serve(reply=b"x", info={"max_context": 4096})
    schema = {"type": "object", "properties": {"d": {"type": "string", "format": "sonnet"}}}
    tools = [TOOLS[1], {"type": "function", "function": {"name": "h", "parameters": schema, "strict": True}}]
    answer = client.post(PATH, {"messages": HI, "tools": tools, "tool_choice": choice})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "tools.1.function.parameters.properties.d.format"
    with pytest.raises(GrammarError) as told:
        plan_tools(tools, choice)
    assert (told.value.keyword, told.value.pointer) == ("format", "#/properties/d/format")
    assert client.post(PATH, {"messages": HI, "tools": tools, "tool_choice": "none"}).status_code == 200
    assert len(client.submits) == 1


def test_schemas_of_arguments_that_are_none_are_refused_in_place():
    def planned(parameters, **options):
        function = {"name": "f", "parameters": parameters}
        return plan_tools([{"type": "function", "function": function}], "required", **options)

    with pytest.raises(RequestError) as told:
        planned({"type": "string"})
    assert told.value.param == "tools.0.function.parameters.type"
    for parameters, param in (
        ({"properties": {"a": {"type": "nonsense"}}}, "tools.0.function.parameters.properties.a.type"),
        ({"anyOf": [{"required": ["a"]}]}, "tools.0.function.parameters.anyOf"),
        ({"properties": {}, "required": ["a"]}, "tools.0.function.parameters.required"),
    ):
        with pytest.raises(GrammarError) as refused:
            planned(parameters, form=PYTHONIC)
        assert refused.value.param == param


def test_calls_in_free_text_are_answered_and_streamed(serve, stop_with):
    call = '<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>'
    client = serve(reply=b"Well. " + call.encode() * 2, finish=stop_with(), info={"max_context": 4096})
    body = {"messages": HI, "tools": STRICT, "max_tokens": 200}
    (choice,) = client.post(PATH, body).json()["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "Well."
    assert [c["function"] for c in choice["message"]["tool_calls"]] == [{"name": "f", "arguments": '{"a": 1}'}] * 2
    events = client.events(PATH, body)
    assert events[-1]["choices"][0]["finish_reason"] == "tool_calls"
    deltas = [d for e in events for c in e["choices"] for d in c["delta"].get("tool_calls", [])]
    pieces = ["".join(d["function"]["arguments"] for d in deltas if d["index"] == at) for at in (0, 1)]
    assert pieces == ['{"a": 1}'] * 2
