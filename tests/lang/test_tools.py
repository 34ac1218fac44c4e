from __future__ import annotations

import json
from typing import Literal

import pytest

import radixlang as sgl


@sgl.tool
def weather(city: str, unit: Literal["C", "F"] = "C") -> str:
    "The weather in a city."
    return "20 " + unit + " in " + city


@sgl.tool
def add(numbers: list[int]) -> int:
    return sum(numbers)


@sgl.tool
def broken() -> None:
    raise LookupError("no such thing")


def test_a_tool_is_a_function_with_a_schema():
    assert weather("Rome") == "20 C in Rome"
    assert weather.schema() == {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"enum": ["C", "F"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    }
    assert '"weather"' in sgl.tool_prompt([weather, add])


def call(name, **arguments):
    return "<tool_call>" + json.dumps({"name": name, "arguments": arguments}) + "</tool_call>"


@sgl.function
def agent(s, q):
    s += sgl.user(q)
    for _ in range(4):
        s += sgl.assistant(sgl.gen("step", tools=[weather, add, broken], max_tokens=500))
        if not s.tool_calls("step"):
            break
        s.run_tools("step")


def test_an_agent_calls_tools_until_it_answers(native):
    replies = [call("weather", city="Rome") + call("add", numbers=[1, 2]), call("broken"), "It is warm."]
    backend = native(lambda prompt: replies[prompt.count("</tool_call>") and 1 + prompt.count("broken")])
    state = agent.run(q="How is Rome?")
    told = [(m["role"], m["content"]) for m in state.messages() if m["role"] == "tool"]
    assert told == [("tool", "20 C in Rome"), ("tool", "3"), ("tool", "error: LookupError: no such thing")]
    assert state["step"] == "It is warm."
    tag = json.loads(backend.requests[0]["sampling_params"]["structural_tag"])
    assert tag["triggers"] == ["<tool_call>"]


def test_a_forced_call_is_a_schema(native):
    backend = native(lambda prompt: json.dumps({"name": "add", "arguments": {"numbers": [4, 5]}}))

    @sgl.function
    def p(s, choice):
        s += sgl.gen("x", tools=[add, weather], tool_choice=choice, max_tokens=99)

    for choice, names in (("required", ["add", "weather"]), ("add", ["add"])):
        state = p.run(choice=choice)
        assert [c.run() for c in state.tool_calls("x")] == [9]
        schema = json.loads(backend.requests[-1]["sampling_params"]["json_schema"])
        found = [one["properties"]["name"]["const"] for one in schema.get("anyOf", [schema])]
        assert found == names
    p.run(choice="none").sync()
    assert not {"json_schema", "structural_tag"} & set(backend.requests[-1]["sampling_params"])


def test_what_is_wrong_is_told(native):
    with pytest.raises(ValueError, match="weather, add"):
        sgl.gen("x", tools=[weather, add], tool_choice="sing")
    with pytest.raises(ValueError, match="one constraint"):
        sgl.gen("x", tools=[weather], regex="a")
    with pytest.raises(TypeError, match="'n' needs a type"):
        sgl.tool(lambda n: n)
    native(lambda prompt: '<tool_call>{"name": "add", "argum')

    @sgl.function
    def p(s):
        s += sgl.gen("x", tools=[add]) + sgl.gen("y", max_tokens=1)

    state = p.run()
    with pytest.raises(sgl.ProgramError, match="cut by max_tokens"):
        state.tool_calls("x")
    with pytest.raises(sgl.ProgramError, match="no gen with tools"):
        state.tool_calls("y")
