"""Strict tools that a model may call or not: what is constrained in each family's form, and read back from it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radixlang.constrained.constraint import JsonSchema, StructuralTag
from radixlang.constrained.translate import compile_constraint
from radixlang.constrained.vocabulary import Vocabulary
from radixlang.errors import GrammarError
from radixlang.lang.jinja import JinjaChatTemplate
from radixlang.lang.reasoning import REASONING_TAGS
from radixlang.runtime.server.tool_forms import HERMES, LLAMA3, MISTRAL, QWEN, form_of
from radixlang.runtime.server.tools import ToolStream, plan_tools, read

PATH = "/v1/chat/completions"
HI = [{"role": "user", "content": "hi"}]
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "s": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}
TOOLS = [
    {"type": "function", "function": {"name": "f", "parameters": SCHEMA, "strict": True}},
    {"type": "function", "function": {"name": "g", "parameters": SCHEMA}},
]
THINK = REASONING_TAGS["qwen3"]
SPECIAL = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<|python_tag|>", "[TOOL_CALLS]", "<eos>"]
ID = {text: 256 + at for at, text in enumerate(SPECIAL)}


@pytest.fixture(scope="module")
def vocabulary():
    size = 256 + len(SPECIAL)
    return Vocabulary(
        token_bytes=[bytes([byte]) for byte in range(256)] + [text.encode() for text in SPECIAL],
        eos_token_ids=frozenset({size - 1}),
        special_token_ids=frozenset(ID.values()),
        size=size,
    )


@pytest.fixture(scope="module")
def grammar_of(vocabulary):
    def make(form, *, is_parallel=None, thought=None, is_open=False):
        strict = plan_tools(TOOLS, "auto", form=form, is_parallel=is_parallel).strict
        return compile_constraint(strict.constraint(thought, is_open=is_open).constraint, vocabulary)

    return make


def accepts(grammar, *parts):
    """Parts are texts, byte by byte, or ids of special tokens."""
    matcher = grammar.matcher()
    ids = [i for part in parts for i in ([part] if isinstance(part, int) else part.encode())]
    return all(matcher.accept(i) for i in ids) and matcher.is_accepting


def call(form, name, arguments):
    return form.heads(name)[0] + arguments + form.closings[-1]


FORMS = {
    HERMES: '<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>',
    QWEN: '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>',
    LLAMA3: '<|python_tag|>{"name": "f", "parameters": {"a": 1}}',
    MISTRAL: '[TOOL_CALLS] [{"name": "f", "arguments": {"a": 1}}]',
}
each_form = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)


@each_form
def test_calls_in_free_text_are_exact(grammar_of, form):
    grammar = grammar_of(form)
    good, begin = FORMS[form], form.triggers[0]
    for text in ("", 'free { "text" <tool', good, f"So: {good} and then {good}", call(form, "g", '{"x": [true, {}]}')):
        assert accepts(grammar, text), text
    assert accepts(grammar, "So: ", ID[begin], good.removeprefix(begin), " done")
    for arguments in ("{}", '{"a": "1"}', '{"a": 1, "b": 2}', "[]"):
        assert not accepts(grammar, call(form, "f", arguments)), arguments
    for text in (call(form, "h", '{"a": 1}'), call(form, "g", "5"), begin, good[:-1], begin + " no"):
        assert not accepts(grammar, text), text


@each_form
def test_one_call_where_calls_are_not_parallel(grammar_of, form):
    grammar = grammar_of(form, is_parallel=False)
    good = FORMS[form]
    assert accepts(grammar, good)
    assert accepts(grammar, "free text")
    assert accepts(grammar, f"So: {good}")
    assert not accepts(grammar, good + good)


def test_a_bare_call_of_llama_is_exact_too_and_other_json_is_text(grammar_of):
    grammar = grammar_of(LLAMA3)
    assert accepts(grammar, '{"name": "f", "parameters": {"a": 1}}; {"name": "g", "parameters": {}}')
    assert accepts(grammar, '{"age": 3, "name": "Bob"}')
    assert not accepts(grammar, '{"name": "f", "parameters": {"a": "x"}}')


@pytest.mark.parametrize("is_parallel", [True, False])
def test_thoughts_are_free_but_hold_no_call(grammar_of, is_parallel):
    good = FORMS[QWEN]
    grammar = grammar_of(QWEN, thought=THINK, is_parallel=is_parallel)
    for parts in (
        [good],
        ["just text"],
        [f"<think>hm {'{'}</think>", good],
        [ID["<think>"], "hm", ID["</think>"], "\n\n", ID["<tool_call>"], good.removeprefix("<tool_call>")],
    ):
        assert accepts(grammar, *parts), parts
    assert not accepts(grammar, "<think>never ended")
    assert not accepts(grammar, "<think><tool_call>x</tool_call></think>")
    is_open = grammar_of(QWEN, thought=THINK, is_open=True, is_parallel=is_parallel)
    assert accepts(is_open, "hm", ID["</think>"], good)
    assert accepts(is_open, "hm</think>text")
    assert not accepts(is_open, f"hm</think>{call(QWEN, 'f', '{}')}")


@pytest.mark.parametrize(
    ("told", "form"),
    [
        ("<tool_call>{{ 1 }}", HERMES),
        ("{{ '<tool_call>\\n{' }}", QWEN),
        ("<tool_call>\n{{ 1 }}", QWEN),
        ("{{ '<|python_tag|>' }}", LLAMA3),
        ('{"name": 1, "parameters": 2}<|eot_id|>', LLAMA3),
        ("[TOOL_CALLS] [", MISTRAL),
        ("[TOOL_CALLS][", MISTRAL._replace(openings=("[TOOL_CALLS][",))),
        ("<|eot_id|>", HERMES),
    ],
)
def test_the_form_is_the_templates(told, form):
    assert form_of(JinjaChatTemplate(f"{{% if tools %}}{told}{{% endif %}}")) == form
    assert form_of(JinjaChatTemplate(told)) == HERMES  # it knows no tools: they are told in words of ours
    assert form_of(None) == HERMES


def streamed(plan, pieces):
    stream = ToolStream(plan)
    text, calls = "", []
    for delta in [d for piece in pieces for d in stream.push(piece)] + stream.finish():
        text += delta.get("content", "")
        for one in delta.get("tool_calls", []):
            if "id" in one:
                calls.append((one["function"]["name"], ""))
            assert one["index"] == len(calls) - 1
            calls[-1] = (calls[-1][0], calls[-1][1] + one["function"]["arguments"])
    return text, calls


ARGUMENTS = ['{"a": 1}', '{"a": -2, "s": "}</tool_call>\\" ]{"}', "{}", '{"s": "' + "x" * 40]


@given(st.data())
def test_a_stream_tells_the_calls_of_its_whole_answer(data):
    form = data.draw(st.sampled_from(list(FORMS)))
    plan = plan_tools(TOOLS, "auto", form=form)
    calls = data.draw(st.lists(st.tuples(st.sampled_from("fg"), st.sampled_from(ARGUMENTS[:3])), max_size=3))
    head = data.draw(st.sampled_from(["", "So: ", 'a < b <tool {"name": "Bob"} ', "<tool_"]))
    text = head + "\n".join(call(form, *one) for one in calls)
    at = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    pieces = [text[a:b] for a, b in zip([0, *at], [*at, len(text)], strict=True)]
    said, found = streamed(plan, pieces)
    assert found == calls
    assert said == head
    parsed = read(text, plan)
    assert [tuple(one) for one in parsed.calls] == calls
    assert parsed.text.split() == head.split()


def test_a_call_that_is_cut_off_is_told_as_far_as_it_goes():
    plan = plan_tools(TOOLS, "auto")
    assert streamed(plan, ['<tool_call>{"name": "f", "arguments": {"a": 1']) == ("", [("f", '{"a": 1')])
    assert streamed(plan, ['<tool_call>{"na']) == ('<tool_call>{"na', [])


def test_what_the_constraint_did_not_see_is_no_call():
    plan = plan_tools(TOOLS, "auto")
    for text in ('{"name": "f", "arguments": {"a": "x"}}', '[TOOL_CALLS] [{"name": "f", "arguments": {}}]'):
        assert read(text, plan) == (text, [])
        assert streamed(plan, list(text)) == (text, [])


def test_a_strict_tool_constrains_calls_on_every_route(serve):
    client = serve(reply=b"x", info={"max_context": 4096})
    function = {"name": "f", "parameters": SCHEMA}
    bodies = {
        PATH: {"messages": HI, "tools": TOOLS},
        "/v1/responses": {"input": "hi", "tools": [{"type": "function", **function, "strict": True}]},
        "/v1/messages": {
            "messages": HI, "max_tokens": 9, "tools": [{"name": "f", "input_schema": SCHEMA, "strict": True}],
        },
        "/api/chat": {"messages": HI, "tools": TOOLS, "stream": False},
    }  # fmt: skip
    for path, body in bodies.items():
        assert client.post(path, body).status_code == 200
        submit = client.submits[-1]
        assert isinstance(submit.constraint, StructuralTag), path
        tags = json.loads(submit.constraint.spec)["format"]["tags"]
        assert tags[0]["content"]["json_schema"] == SCHEMA
        assert tags[1:] == [] or tags[1]["content"]["json_schema"] == {"type": "object"}
        assert not submit.sampling.skip_special_tokens
    client.post(PATH, {"messages": HI, "tools": TOOLS, "tool_choice": "auto", "parallel_tool_calls": False})
    assert json.loads(client.submits[-1].constraint.spec)["format"]["stop_after_first"]
    client.post(PATH, {"messages": HI, "tools": TOOLS, "tool_choice": "required"})
    assert isinstance(client.submits[-1].constraint, JsonSchema)
    client.post(PATH, {"messages": HI, "tools": TOOLS, "tool_choice": "none"})
    assert client.submits[-1].constraint is None
    client.post(PATH, {"messages": HI, "tools": TOOLS, "response_format": {"type": "json_object"}})
    assert not isinstance(client.submits[-1].constraint, StructuralTag)


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


def test_calls_in_free_text_are_answered_and_streamed(serve, stop_with):
    client = serve(reply=b"Well. " + FORMS[HERMES].encode() * 2, finish=stop_with(), info={"max_context": 4096})
    body = {"messages": HI, "tools": TOOLS, "max_tokens": 200}
    (choice,) = client.post(PATH, body).json()["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "Well."
    assert [c["function"] for c in choice["message"]["tool_calls"]] == [{"name": "f", "arguments": '{"a": 1}'}] * 2
    events = client.events(PATH, body)
    assert events[-1]["choices"][0]["finish_reason"] == "tool_calls"
    deltas = [d for e in events for c in e["choices"] for d in c["delta"].get("tool_calls", [])]
    pieces = ["".join(d["function"]["arguments"] for d in deltas if d["index"] == at) for at in (0, 1)]
    assert pieces == ['{"a": 1}'] * 2
