"""Each family's calls: what is constrained, in whichever choice, and read back from it, whole or streamed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radixlang.constrained.constraint import Choice, JsonSchema, Regex
from radixlang.constrained.fields import FoundConstraint
from radixlang.constrained.translate import compile_constraint
from radixlang.constrained.vocabulary import Vocabulary
from radixlang.errors import GrammarError
from radixlang.lang.jinja import JinjaChatTemplate
from radixlang.lang.reasoning import REASONING_TAGS
from radixlang.runtime.server.tools.forms import (
    DEEPSEEK_V3,
    DEEPSEEK_V31,
    GPT_OSS,
    HERMES,
    JSON,
    LLAMA3,
    MISTRAL,
    MISTRAL_ARGS,
    MISTRAL_TIGHT,
    PYTHONIC,
    QWEN,
    form_of,
)
from radixlang.runtime.server.tools.plan import plan_tools, read
from radixlang.runtime.server.tools.stream import ToolStream

SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "boolean"}, "s": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}
TOOLS = [
    {"type": "function", "function": {"name": "f", "parameters": SCHEMA, "strict": True}},
    {"type": "function", "function": {"name": "g", "parameters": SCHEMA}},
]
THINK = REASONING_TAGS["qwen3"]
SPECIAL = [
    "<think>", "</think>", "<tool_call>", "</tool_call>", "<|python_tag|>", "[TOOL_CALLS]", "<｜tool▁calls▁begin｜>",
    "<|channel|>", "<|message|>", "<|end|>", "<|start|>", "<|constrain|>", "<eos>",
]  # fmt: skip
ID = {text: 256 + at for at, text in enumerate(SPECIAL)}
THOUGHT = "<|channel|>analysis<|message|>hm<|end|><|start|>assistant"
SAID = "<|channel|>commentary<|message|>Let me see.<|end|><|start|>assistant"
FINAL = "<|channel|>final<|message|>"
ANSWER = FoundConstraint(
    JsonSchema(json.dumps({"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]})),
    "response_format",
)

ONE = {  # f(a=1)
    HERMES: '<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>',
    QWEN: '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>',
    LLAMA3: '<|python_tag|>{"name": "f", "parameters": {"a": 1}}',
    MISTRAL: '[TOOL_CALLS] [{"name": "f", "arguments": {"a": 1}}]',
    MISTRAL_TIGHT: '[TOOL_CALLS][{"name": "f", "arguments": {"a": 1}}]',
    MISTRAL_ARGS: '[TOOL_CALLS]f[ARGS]{"a": 1}',
    DEEPSEEK_V3: "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n"
    '{"a": 1}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
    DEEPSEEK_V31: "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>"
    '{"a": 1}<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
    GPT_OSS: '<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a": 1}',
    PYTHONIC: "[f(a=1)]",
    JSON: '{"name": "f", "arguments": {"a": 1}}',
}
TWO = {  # f(a=1), f(a=2, b=True, s='q)"}]')
    HERMES: ONE[HERMES] + '\n<tool_call>{"name": "f", "arguments": {"a": 2, "b": true, "s": "q)\\"}]"}}</tool_call>',
    LLAMA3: ONE[LLAMA3] + '; <|python_tag|>{"name": "f", "parameters": {"a": 2, "b": true, "s": "q)\\"}]"}}',
    MISTRAL: ONE[MISTRAL][:-1] + ', {"name": "f", "arguments": {"a": 2, "b": true, "s": "q)\\"}]"}}]',
    MISTRAL_ARGS: ONE[MISTRAL_ARGS] + '[TOOL_CALLS]f[ARGS]{"a": 2, "b": true, "s": "q)\\"}]"}',
    DEEPSEEK_V31: ONE[DEEPSEEK_V31].removesuffix("<｜tool▁calls▁end｜>")
    + '<｜tool▁call▁begin｜>f<｜tool▁sep｜>{"a": 2, "b": true, "s": "q)\\"}]"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
    PYTHONIC: '[f(a=1), f(a=2, b=True, s="q)\\"}]")]',
    JSON: ONE[JSON] + '\n{"name": "f", "arguments": {"a": 2, "b": true, "s": "q)\\"}]"}}',
}
BOTH = [("f", {"a": 1}), ("f", {"a": 2, "b": True, "s": 'q)"}]'})]
each_form = pytest.mark.parametrize("form", ONE, ids=lambda form: f"{form.name}-{form.head[:6]}")
each_pair = pytest.mark.parametrize("form", TWO, ids=lambda form: f"{form.name}-{form.head[:6]}")


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
    def make(form, choice="auto", *, is_parallel=None, thought=None, is_open=False, answer=None):
        plan = plan_tools(TOOLS, choice, form=form, is_parallel=is_parallel)
        if answer is not None:
            plan.answer_in(answer)
        return compile_constraint(plan.grammar.constraint(thought, is_open=is_open).constraint, vocabulary)

    return make


def accepts(grammar, *parts):
    """Parts are texts, byte by byte, or ids of special tokens."""
    matcher = grammar.matcher()
    ids = [i for part in parts for i in ([part] if isinstance(part, int) else part.encode())]
    return all(matcher.accept(i) for i in ids) and matcher.is_accepting


def with_arguments(form, arguments, name="f"):
    """The family's one call with other arguments, as it writes them, or of another tool."""
    old = "a=1" if form is PYTHONIC else '{"a": 1}'
    begin, _, end = ONE[form].rpartition(old)
    return begin[::-1].replace("f", name, 1)[::-1] + arguments + end if name != "f" else begin + arguments + end


@each_form
def test_calls_in_free_text_are_exact(grammar_of, form):
    grammar = grammar_of(form)
    wrong = ["", 'a="1"', "a=1, c=2", "1"] if form is PYTHONIC else ["{}", '{"a": "1"}', '{"a": 1, "b": 2}', "[]", "5"]
    assert accepts(grammar, ONE[form])
    assert accepts(grammar, FINAL + "free" if form is GPT_OSS else "free { text <tool")
    for arguments in wrong:
        assert not accepts(grammar, with_arguments(form, arguments)), arguments
    right = 'x=[true, {}], y="q"' if form is PYTHONIC else '{"x": [true, {}]}'
    if form is not GPT_OSS:  # whose name holds an f before that of the tool
        assert accepts(grammar, with_arguments(form, right, "g")) or form.name.startswith("deepseek")
    assert not accepts(grammar, ONE[form][:-1])


@each_form
@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "f"}}])
def test_a_forced_call_is_one_and_nothing_else(grammar_of, form, choice):
    grammar = grammar_of(form, choice)
    assert accepts(grammar, ONE[form])
    for text in ("", "free", FINAL + "free", "So: " + ONE[form], ONE[form] + " done", TWO.get(form, "no")):
        assert not accepts(grammar, text), text
    assert not accepts(grammar, with_arguments(form, 'a="x"' if form is PYTHONIC else '{"a": "x"}'))


@each_pair
def test_several_calls_where_they_are_parallel(grammar_of, form):
    assert accepts(grammar_of(form), TWO[form])
    assert accepts(grammar_of(form, "required", is_parallel=True), TWO[form])
    for choice in ("auto", "required"):
        single = grammar_of(form, choice, is_parallel=False)
        assert accepts(single, ONE[form])
        assert not accepts(single, TWO[form])


@each_form
def test_beside_a_format_an_answer_is_a_call_or_has_it(grammar_of, form):
    if form is JSON:
        with pytest.raises(GrammarError, match="response_format cannot be combined"):
            grammar_of(form, answer=ANSWER)
        return
    grammar = grammar_of(form, answer=ANSWER)
    begin = FINAL if form is GPT_OSS else ""
    assert accepts(grammar, ONE[form])
    assert accepts(grammar, begin + '{"x": "<tool_call>"}')
    for text in ("", "free", begin + "{}", ONE[form] + '{"x": ""}', '{"x": ""}' + ONE[form]):
        assert not accepts(grammar, text), text
    assert not accepts(grammar, with_arguments(form, 'a="x"' if form is PYTHONIC else '{"a": "x"}'))


def test_a_constraint_that_cannot_stand_beside_calls_is_refused(grammar_of):
    assert accepts(grammar_of(HERMES, answer=FoundConstraint(Regex("yes|no"), "regex")), "yes")
    for asked in (JsonSchema("{}", whitespace="compact"), JsonSchema("{}", on_unsupported="verify")):
        with pytest.raises(GrammarError) as told:
            grammar_of(HERMES, answer=FoundConstraint(asked, "response_format.json_schema.schema"))
        assert told.value.param == "response_format.json_schema.schema"


@pytest.mark.parametrize(
    ("form", "thought"), [(HERMES, None), (HERMES, THINK), (MISTRAL_ARGS, None), (PYTHONIC, None), (PYTHONIC, THINK)]
)
def test_an_answer_of_a_pattern_is_never_taken_for_a_call_or_a_thought(grammar_of, form, thought):
    for pattern in (r"[\s\S]*", r"(?i)[^Q]*"):
        grammar = grammar_of(form, thought=thought, answer=FoundConstraint(Regex(pattern), "regex"))
        wrong = with_arguments(form, 'a="x"' if form is PYTHONIC else '{"a": "x"}')
        assert accepts(grammar, "free <text")
        assert accepts(grammar, ONE[form])
        for text in (wrong, "\n" + wrong):
            assert not accepts(grammar, text), text
        assert accepts(grammar, "<think>hm") == (thought is None)
    with pytest.raises(GrammarError, match="cannot be combined"):
        grammar_of(form, answer=FoundConstraint(Choice(("yes", form.openings[0])), "choices"))


def test_special_tokens_may_write_what_opens_calls(grammar_of):
    call = ONE[HERMES].removeprefix("<tool_call>").removesuffix("</tool_call>")
    assert accepts(grammar_of(HERMES), "So: ", ID["<tool_call>"], call, ID["</tool_call>"], " done")
    assert accepts(grammar_of(MISTRAL), ID["[TOOL_CALLS]"], ONE[MISTRAL].removeprefix("[TOOL_CALLS]"))
    begin, _, rest = ONE[GPT_OSS].removeprefix("<|channel|>").partition("<|constrain|>json<|message|>")
    parts = [ID["<|channel|>"], begin, ID["<|constrain|>"], "json", ID["<|message|>"], rest]
    assert accepts(grammar_of(GPT_OSS), *parts)
    assert accepts(grammar_of(GPT_OSS), THOUGHT + SAID, *parts)


def test_a_bare_call_of_llama_is_exact_too_and_other_json_is_text(grammar_of):
    grammar = grammar_of(LLAMA3)
    assert accepts(grammar, '{"name": "f", "parameters": {"a": 1}}; {"name": "g", "parameters": {}}')
    assert accepts(grammar, '{"age": 3, "name": "Bob"}')
    assert not accepts(grammar, '{"name": "f", "parameters": {"a": "x"}}')


def test_messages_of_channels_come_in_their_order(grammar_of):
    grammar, forced = grammar_of(GPT_OSS), grammar_of(GPT_OSS, "required")
    for text in (THOUGHT + FINAL + "hi", THOUGHT + SAID + ONE[GPT_OSS], SAID + ONE[GPT_OSS], THOUGHT + ONE[GPT_OSS]):
        assert accepts(grammar, text), text
        assert accepts(forced, text) == (FINAL not in text)
    for text in ("hi", THOUGHT, SAID + THOUGHT + FINAL, FINAL + THOUGHT, ONE[GPT_OSS] + FINAL):
        assert not accepts(grammar, text), text


@each_form
@pytest.mark.parametrize("choice", ["auto", "required"])
def test_thoughts_are_free_but_hold_no_call(grammar_of, form, choice):
    if form.channels is not None:
        return
    grammar = grammar_of(form, choice, thought=THINK)
    good = ONE[form]
    for parts in ([good], [f"<think>hm {'{'}</think>", good], [ID["<think>"], "hm", ID["</think>"], "\n\n", good]):
        assert accepts(grammar, *parts), parts
    assert accepts(grammar, "just text") == (choice == "auto")
    assert not accepts(grammar, "<think>never ended")
    if form.triggers:
        assert not accepts(grammar, f"<think>{form.triggers[0]}</think>{good}")
    is_open = grammar_of(form, choice, thought=THINK, is_open=True)
    assert accepts(is_open, "hm", ID["</think>"], good)
    assert accepts(is_open, "hm</think>text") == (choice == "auto")
    assert not accepts(is_open, "hm</think>" + with_arguments(form, "a=[]" if form is PYTHONIC else "{}"))


@pytest.mark.parametrize(
    ("told", "form"),
    [
        ("<tool_call>{{ 1 }}", HERMES),
        ("{{ '<tool_call>\\n{' }}", QWEN),
        ("<tool_call>\n{{ 1 }}", QWEN),
        ("{{ '<|python_tag|>' }}", LLAMA3),
        ('{"name": 1, "parameters": 2}<|eot_id|>', LLAMA3),
        ("[TOOL_CALLS] [", MISTRAL),
        ("[TOOL_CALLS][", MISTRAL_TIGHT),
        ("{{ '[TOOL_CALLS]' + name + '[ARGS]' }}", MISTRAL_ARGS),
        ("<｜tool▁calls▁begin｜>```json", DEEPSEEK_V3),
        ("<｜tool▁calls▁begin｜>", DEEPSEEK_V31),
        ("<|channel|>commentary to=functions.", GPT_OSS),
        ("[func_name1(params_name1=params_value1, …)]", PYTHONIC),
        ("<|eot_id|>", HERMES),
    ],
)
def test_the_form_is_the_templates(told, form):
    assert form_of(JinjaChatTemplate(f"{{% if tools %}}{told}{{% endif %}}")) == form
    assert form_of(JinjaChatTemplate(told)) == HERMES  # it knows no tools: they are told in words of ours
    assert form_of(None) == HERMES
    assert form_of(JinjaChatTemplate(f"{{% if tools %}}{told}{{% endif %}}"), "llama4") == PYTHONIC


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


def loaded(calls):
    return [(name, json.loads(arguments)) for name, arguments in calls]


@given(st.data())
def test_a_stream_tells_the_calls_of_its_whole_answer(data):
    form = data.draw(st.sampled_from(list(TWO)))
    choice = data.draw(st.sampled_from(["auto", "required"]))
    plan = plan_tools(TOOLS, choice, form=form, is_parallel=True)
    heads = ["", "So: ", 'a < b <tool {"name": "Bob"} ', "<tool_"]
    head = data.draw(st.sampled_from(heads)) if choice == "auto" and form.triggers else ""
    text = head + TWO[form]
    at = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    said, found = streamed(plan, [text[a:b] for a, b in zip([0, *at], [*at, len(text)], strict=True)])
    assert loaded(found) == BOTH
    assert said == head
    parsed = read(text, plan)
    assert loaded(parsed.calls) == BOTH
    assert parsed.text.split() == head.split()


@given(st.data())
def test_what_messages_of_channels_begin_with_is_not_told(data):
    plan = plan_tools(TOOLS, "auto", form=GPT_OSS)
    text, told = data.draw(
        st.sampled_from([(SAID + ONE[GPT_OSS], ("Let me see.", BOTH[:1])), (FINAL + "hi <|x", ("hi <|x", []))])
    )
    at = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    said, found = streamed(plan, [text[a:b] for a, b in zip([0, *at], [*at, len(text)], strict=True)])
    assert (said, loaded(found)) == told


@each_form
def test_text_that_only_looks_like_a_call_is_told(form):
    plan = plan_tools(TOOLS, "auto", form=form)
    for text in ("", "plain", "[link](x)", '{"x": 1}', '{"name": "Bob"}'):
        assert streamed(plan, list(text)) == (text, [])
        assert read(text, plan) == (text, [])


def test_an_answer_in_its_format_is_told_as_text_whatever_is_in_it():
    plan = plan_tools(TOOLS, "auto", form=DEEPSEEK_V31)
    plan.answer_in(ANSWER)
    text = json.dumps({"x": ONE[DEEPSEEK_V31].partition("{")[0]}, ensure_ascii=False)
    assert read(text, plan) == (text, [])
    assert streamed(plan, list(text)) == (text, [])


def test_a_thought_that_is_told_with_the_text_hides_no_call():
    plan = plan_tools(TOOLS, "required")
    plan.shown_thought = THINK
    for text, is_thinking in (("<think>hm</think>", False), ("hm</think>", True)):
        plan.is_thinking = is_thinking
        assert streamed(plan, list(text + ONE[HERMES])) == (text, [("f", '{"a": 1}')])


def test_a_call_that_is_cut_off_is_told_as_far_as_it_goes():
    plan, forced = plan_tools(TOOLS, "auto"), plan_tools(TOOLS, "required")
    assert streamed(plan, ['<tool_call>{"name": "f", "arguments": {"a": 1']) == ("", [("f", '{"a": 1')])
    assert streamed(plan, ['<tool_call>{"na']) == ('<tool_call>{"na', [])
    assert streamed(forced, ['<tool_call>{"na']) == ("", [])


def test_what_the_constraint_did_not_see_is_no_call():
    plan = plan_tools(TOOLS, "auto")
    for text in ('{"name": "f", "arguments": {"a": "x"}}', '[TOOL_CALLS] [{"name": "f", "arguments": {}}]'):
        assert read(text, plan) == (text, [])
        assert streamed(plan, list(text)) == (text, [])


@pytest.mark.parametrize("choice", ["auto", "required"])
@pytest.mark.parametrize("form", [HERMES, DEEPSEEK_V31, GPT_OSS, LLAMA3, JSON, PYTHONIC], ids=lambda form: form.name)
def test_a_thousand_tools_are_served(vocabulary, form, choice):
    tools = [
        {"type": "function", "function": {"name": f"f{i}", "parameters": SCHEMA, "strict": True}} for i in range(1000)
    ]
    grammar = plan_tools(tools, choice, form=form).grammar.constraint(None, is_open=False).constraint
    compiled = compile_constraint(grammar, vocabulary)
    for name, is_one in (("f0", True), ("f999", True), ("f1000", False)):
        arguments = "a=1" if form is PYTHONIC else '{"a": 1}'
        assert accepts(compiled, form.begin(name, form.openings[0]) + arguments + form.tail + form.end) == is_one


def test_tools_with_the_same_arguments_keep_their_own(vocabulary):
    others = {**SCHEMA, "properties": {"c": {"type": "null"}}, "required": ["c"]}
    given = {"f": SCHEMA, "g": others, "h": SCHEMA, "i": others}
    tools = [{"type": "function", "function": {"name": n, "parameters": given[n], "strict": True}} for n in given]
    for form in (HERMES, PYTHONIC):
        grammar = plan_tools(tools, "required", form=form).grammar.constraint(None, is_open=False).constraint
        compiled = compile_constraint(grammar, vocabulary)
        for name, schema in given.items():
            written = {"a": ("a=1", '{"a": 1}'), "c": ("c=null", '{"c": null}')}
            for key, (keywords, document) in written.items():
                arguments = keywords if form is PYTHONIC else document
                call = form.begin(name, form.openings[0]) + arguments + form.tail + form.end
                assert accepts(compiled, call) == (key in schema["required"]), call
