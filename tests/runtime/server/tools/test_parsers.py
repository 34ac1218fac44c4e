"""Calls read out of whole answers, as each family of models writes them."""

import json

import pytest

from radixlang.runtime.server.tools.parsers import parse

DEEP = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>"
DEEP_END = "<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
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
        ("mistral", 'Hm. [TOOL_CALLS]f[ARGS]{"a": 1}[TOOL_CALLS]g[CALL_ID]x1[ARGS]{}', "Hm.", ["f", "g"]),
        ("deepseekv3", f"Hm.{DEEP}function<｜tool▁sep｜>f\n```json\n{{}}\n```{DEEP_END}", "Hm.", ["f"]),
        ("deepseekv31", f"{DEEP}f<｜tool▁sep｜>{{}}{DEEP_END}", "", ["f"]),
        ("deepseekv31", f"{DEEP}f<｜tool▁sep｜>no{DEEP_END}", f"{DEEP}f<｜tool▁sep｜>no{DEEP_END}", []),
        (
            "gpt-oss",
            "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>commentary<|message|>So.<|end|>"
            '<|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a": 1}<|call|>',
            "So.",
            ["f"],
        ),
        ("gpt-oss", " to=functions.f<|channel|>commentary json<|message|>{}", "", ["f"]),
        ("pythonic", "[f(a='x', b=[True, None]), g()]", "", ["f", "g"]),
        ("llama4", '<|python_start|>[f(a="(", b={"c": true})]<|python_end|>', "", ["f"]),
        ("pythonic", "[f(a=1), x]", "[f(a=1), x]", []),
        ("pythonic", "[f(a=print)]", "[f(a=print)]", []),
        ("pythonic", "see [f](g)", "see [f](g)", []),
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


@pytest.mark.parametrize(
    ("parser", "text"),
    [
        ("hermes", "<tool_call>x" + " " * 300_000 + "y"),
        ("gpt-oss", "x" * 300_000),
        ("deepseekv3", "<｜tool▁calls▁begin｜>" + "<｜tool▁call▁begin｜>" * 15_000),
        ("pythonic", "[f(a=" + " " * 300_000 + ")]"),
    ],
)
def test_long_texts_that_are_no_calls_are_read_in_one_go(parser, text):
    """Time in the square of these texts would be minutes."""
    assert parse(text, parser) == (text, [])


def test_many_calls_in_a_list_are_all_read():
    parsed = parse("[" + "f(a=1) , " * 999 + "g() ]", "pythonic")
    assert [call.name for call in parsed.calls] == ["f"] * 999 + ["g"]
    assert parse("[f(a=1) g()]", "pythonic").calls == []


def test_calls_of_unknown_tools_stay_text():
    assert parse(CALL, "auto", frozenset({"g"})).text == CALL
