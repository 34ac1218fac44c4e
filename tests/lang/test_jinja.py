# ruff: noqa: E501  (templates read better unbroken)
import contextlib
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radixlang.errors import RequestError
from radixlang.lang.jinja import MAX_SOURCE, RESERVED, JinjaChatTemplate
from radixlang.lang.jinja_sandbox import MAX_OUTPUT

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + "
    "message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3 = (
    "{{- bos_token }}\n{%- if not date_string is defined %}\n    {%- set date_string = '26 Jul 2024' %}\n{%- endif %}\n"
    "{%- if messages[0]['role'] == 'system' %}\n    {%- set system_message = messages[0]['content']|trim %}\n"
    "    {%- set messages = messages[1:] %}\n{%- else %}\n    {%- set system_message = '' %}\n{%- endif %}\n"
    "{{- '<|start_header_id|>system<|end_header_id|>\\n\\n' }}\n{{- 'Today Date: ' + date_string + '\\n\\n' }}\n"
    "{%- if tools is not none %}\n    {%- for t in tools %}\n        {{- t | tojson(indent=4) }}\n        {{- '\\n\\n' }}\n"
    "    {%- endfor %}\n{%- endif %}\n{{- system_message }}\n{{- '<|eot_id|>' }}\n{%- for message in messages %}\n"
    "    {%- if message.role == 'tool' or message.role == 'ipython' %}\n"
    "        {{- '<|start_header_id|>ipython<|end_header_id|>\\n\\n' }}\n"
    "        {%- if message.content is mapping or message.content is iterable %}\n"
    "            {{- message.content | tojson }}\n        {%- else %}\n            {{- message.content }}\n        {%- endif %}\n"
    "        {{- '<|eot_id|>' }}\n    {%- elif 'tool_calls' in message %}\n"
    "        {%- if message.tool_calls|length != 1 %}\n            {{- raise_exception('one tool call at a time') }}\n"
    "        {%- endif %}\n        {%- set tool_call = message.tool_calls[0].function %}\n"
    "        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}\n"
    '        {{- \'{"name": "\' + tool_call.name + \'", "parameters": \' }}\n'
    "        {{- tool_call.arguments | tojson }}\n        {{- '}' }}\n        {{- '<|eot_id|>' }}\n    {%- else %}\n"
    "        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}\n"
    "    {%- endif %}\n{%- endfor %}\n{%- if add_generation_prompt %}\n"
    "    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}\n{%- endif %}\n"
)
QWEN3ISH = (
    "{%- set ns = namespace(multi_step=true, last=messages|length - 1) %}\n{%- for message in messages[::-1] %}\n"
    "    {%- set index = (messages|length - 1) - loop.index0 %}\n"
    "    {%- if ns.multi_step and message.role == 'user' %}{% set ns.multi_step = false %}{% set ns.last = index %}{% endif %}\n"
    "{%- endfor %}\n{%- for message in messages %}\n    {%- set content = message.content %}\n"
    "    {%- if message.role == 'assistant' %}\n        {%- set reasoning = '' %}\n"
    "        {%- if message.reasoning_content is defined and message.reasoning_content is not none %}\n"
    "            {%- set reasoning = message.reasoning_content %}\n        {%- elif '</think>' in content %}\n"
    "            {%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}\n"
    "            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}\n        {%- endif %}\n"
    "        {%- if loop.index0 > ns.last and reasoning %}\n"
    "            {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning.strip('\\n') + '\\n</think>\\n\\n' + content }}\n"
    "        {%- else %}\n            {{- '<|im_start|>' + message.role + '\\n' + content }}\n        {%- endif %}\n"
    "        {%- generation %}{{- '<|im_end|>\\n' }}{% endgeneration %}\n    {%- else %}\n"
    "        {{- '<|im_start|>' ~ message.role ~ '\\n' ~ content ~ '<|im_end|>' ~ '\\n' }}\n        {%- if loop.last %}{% break %}{% endif %}\n"
    "    {%- endif %}\n{%- endfor %}\n{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n"
    "    {%- if enable_thinking is defined and enable_thinking is false %}\n        {{- '<think>\\n\\n</think>\\n\\n' }}\n"
    "    {%- endif %}\n{%- endif %}"
)
TEMPLATES = {"chatml": CHATML, "smollm2": SMOLLM2, "llama3": LLAMA3, "qwen3": QWEN3ISH}
TOOLS = [
    {"type": "function", "function": {"name": "look", "description": "<b> & 'é'", "parameters": {"type": "object"}}}
]
CHATS = {
    "one": [{"role": "user", "content": "Hi"}],
    "system": [{"role": "system", "content": " Be brief. "}, {"role": "user", "content": "żółw <&> \"'"}],
    "turns": [
        {"role": "user", "content": "a"}, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nb"}, {"role": "user", "content": " c "},
    ],
    "reasoning": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "reasoning": "because"}],
}  # fmt: skip


def render(source, messages=CHATS["one"], **kwargs):
    return JinjaChatTemplate(source, bos_token="<s>", eos_token="</s>").render(messages, **kwargs)


def test_chatml_renders():
    assert render(CHATML, add_generation_prompt=True) == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert render(SMOLLM2).startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")


@pytest.fixture(scope="module")
def transformers_render():
    utils = pytest.importorskip("transformers.utils.chat_template_utils")

    def theirs(source, messages, **kwargs):
        [text], _ = utils.render_jinja_template(
            [messages], chat_template=source, bos_token="<s>", eos_token="</s>", **kwargs
        )
        return text

    return theirs


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("chat", CHATS)
@pytest.mark.parametrize(
    "kwargs",
    [{}, {"add_generation_prompt": True}, {"add_generation_prompt": True, "enable_thinking": False}, {"tools": TOOLS}],
    ids=["plain", "prompt", "unthinking", "tools"],
)
def test_rendering_is_that_of_transformers(transformers_render, template, chat, kwargs):
    wanted = transformers_render(TEMPLATES[template], CHATS[chat], **kwargs)
    assert render(TEMPLATES[template], CHATS[chat], **kwargs) == wanted


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_continued_message_ends_where_transformers_ends_it(transformers_render, template):
    for content in ("It is", "It is "):
        chat = [*CHATS["one"], {"role": "assistant", "content": content}]
        wanted = transformers_render(TEMPLATES[template], chat, continue_final_message=True)
        assert render(TEMPLATES[template], chat, continue_final_message=True) == wanted
        assert wanted.endswith("It is") or wanted.endswith("It is ")


def test_tool_calls_and_answers_render_as_there(transformers_render):
    call = {"type": "function", "function": {"name": "look", "arguments": {"at": ["é", 1, None, True]}}}
    chat = [
        *CHATS["one"],
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": {"found": 1.5}},
    ]
    assert render(LLAMA3, chat, tools=TOOLS) == transformers_render(LLAMA3, chat, tools=TOOLS)


FEATURES = [
    "{{ messages|map(attribute='content')|join(', ') }}", "{{ messages|selectattr('role', 'equalto', 'user')|list|length }}",
    "{% for k, v in messages[0].items() %}{{ loop.index }}/{{ loop.length }}:{{ k }}={{ v }}{% if not loop.last %};{% endif %}{% endfor %}",
    "{% for x in [1, 2, 3, 4] if x % 2 == 0 %}{{ loop.index0 }}{{ x }}{{ loop.last }}{% else %}none{% endfor %}",
    "{% for x in [] %}{{ x }}{% else %}none{% endfor %}", "{{ ('a,b,c'.split(',')|reverse|list) + ['d'] }}",
    "{% macro f(x, y=2) %}[{{ x * y }}]{% endmacro %}{{ f(3) }}{{ f('ab', y=3) }}", "{{ 'x' ~ 1 ~ none ~ true }}",
    "{%- for x in range(3) recursive %}{{ x }}{{ loop(range(x)) if x }}{%- endfor %}", "{{ dict(a=1, **{'b': 2})|tojson }}",
    "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
    "{{ [1, {'a': 'ü<'}]|tojson(indent=2) }}{{ {'b': 1, 'a': 2}|tojson(sort_keys=true, separators=(',', ':')) }}",
    "{{ '%s-%05.1f' % ('a', 2.25) }}{{ '{:>5}|{}'.format('a', 1234567890) }}{{ 'a%sb'|format('X') }}", "{{ missing is defined }}[{{ missing }}]",
    "{% filter upper %}abc{% endfilter %}{{ 'a b'|title }}{{ 'hello'|replace('l', 'L') }}{{ 'aXbX'.replace('X', '-', 1) }}",
    "{% set x %}block {{ 1 + 1 }}{% endset %}{{ x|length }}{{ x }}", "{{ messages[0]['content'][:1] }}{{ messages[-1].role }}",
    "  {% if true %}\n    kept\n  {% endif %}\n  {{- ' tight ' -}}  \n x", "{{ 7 // 2 }} {{ 2 ** 10 }} {{ -3 % 5 }} {{ 'é'|upper }} {{ 3 is odd }}",
    "{% with a = 1 %}{{ a }}{% endwith %}{{ cycler('a', 'b').next() }}{{ 1 if false }}", "{{ 'a\\tb'.expandtabs(4) }}{{ ','.join(['a', 'b']) }}",
    "{{ messages|first }}{{ [3, 1, 2]|sort|last }}{{ ['a', 'b']|batch(1)|list }}{{ 'abc'|list }}{{ 5|string + '!' }}",
]  # fmt: skip


@pytest.mark.parametrize("source", FEATURES)
def test_the_language_is_that_of_transformers(transformers_render, source):
    assert render(source, CHATS["turns"]) == transformers_render(source, CHATS["turns"])


@settings(max_examples=100, deadline=None)
@given(contents=st.lists(st.text(max_size=30), min_size=1, max_size=5), prompt=st.booleans())
def test_any_text_passes_unchanged(contents, prompt):
    roles = ["user", "assistant"]
    chat = [{"role": roles[i % 2], "content": text} for i, text in enumerate(contents)]
    wanted = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in chat)
    assert render(CHATML, chat, add_generation_prompt=prompt) == wanted + "<|im_start|>assistant\n" * prompt


NS = "{% set ns = namespace(s='xxxxxxxxxx') %}{% for i in range(60) %}"
TOO_MUCH = {
    "nested loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "loop over a string": "{% set s = 'x' * 100000 %}{% for a in s %}{% for b in s %}{% endfor %}{% endfor %}",
    "long range": "{% for i in range(10 ** 9) %}{% endfor %}",
    "times": "{{ 'x' * 10 ** 9 }}",
    "list times": "{{ [1] * 10 ** 9 }}",
    "power": "{{ 10 ** 10 ** 10 }}",
    "product": "{% set ns = namespace(n=9) %}{% for i in range(60) %}{% set ns.n = ns.n * ns.n %}{% endfor %}",
    "plus": NS + "{% set ns.s = ns.s + ns.s %}{% endfor %}",
    "concat": NS + "{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
    "block": NS + "{% set ns.s %}{{ ns.s }}{{ ns.s }}{% endset %}{% endfor %}",
    "static text": "{% set x %}{% for i in range(99999) %}" + "x" * 10_000 + "{% endfor %}{% endset %}",
    "list of lists": "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
    "output": "{% for i in range(99999) %}{{ 'x' * 100 }}{% endfor %}",
    "ljust": "{{ 'x'.ljust(10 ** 9) }}",
    "center": "{{ 'x'|center(10 ** 9) }}",
    "indent": "{{ 'x'|indent(10 ** 9, true) }}",
    "wide field": "{{ '%0999999999d' % 1 }}",
    "starred field": "{{ '%*d' % (999999999, 1) }}",
    "wide format": "{{ '{:>999999999}'.format(1) }}",
    "nested format": "{{ '{:{w}}'.format('a', w=999999999) }}",
    "indexed format": "{{ '{0:{1}}'.format('a', 999999999) }}",
    "format filter": "{{ '%0999999999d'|format(1) }}",
    "join": "{{ 'x' * 100000 }}{{ (range(99999)|list)|join('x' * 100000) }}",
    "str.join": "{{ ('x' * 100000).join(['a'] * 100000) }}",
    "replace": "{{ ('a' * 10000)|replace('a', 'b' * 100000) }}",
    "str.replace": "{{ ('a' * 10000).replace('a', 'b' * 100000) }}",
    "expandtabs": "{{ ('\\t' * 10000).expandtabs(1000000) }}",
    "mapped": "{{ range(99999)|map('center', 900000)|list|length }}",
    "batch": "{{ 'a'|batch(10 ** 9, 'x')|list }}",
    "json": "{{ messages|tojson(indent=10 ** 9) }}",
    "recursion": "{% macro m(n) %}{{ m(n) }}{{ m(n) }}{% endmacro %}{{ m(1) }}",
    "tree": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    "date": "{{ strftime_now('%Y' * 101) }}",
}


@pytest.mark.parametrize("name", TOO_MUCH)
def test_a_template_that_swells_or_loops_is_a_bad_request(name):
    began = time.thread_time()
    with pytest.raises(RequestError) as caught:
        render(TOO_MUCH[name])
    assert caught.value.status == 400
    assert time.thread_time() - began < 20  # not a matter of speed: unbounded ones take hours


ESCAPES = [
    "{{ ''.__class__.__mro__ }}", "{{ cycler.__init__.__globals__ }}", "{{ messages.append(1) }}", "{{ messages[0].update(a=1) }}",
    "{{ ''|attr('__class__') }}", "{{ self.__init__.__globals__ }}", "{{ render.__globals__ }}", "{% include 'x' %}", "{% import 'x' as x %}",
    "{% extends 'x' %}", "{{ raise_exception('no') }}", "{{ missing() }}", "{{ missing.a.b }}", "{{ 1 / 0 }}", "{{ [][0].x }}",
    "{{ namespace(__class__=1) }}", "{% set ns = namespace() %}{% set ns._x = 1 %}", "{{ '{0.__class__}'.format(1).x.y }}",
    "{{ ''.format_map.__globals__ }}", "{{ dict.__subclasses__() }}", "{{ lipsum.__globals__ }}", "{{ (1).__add__(2) }}",
]  # fmt: skip


@pytest.mark.parametrize("source", ESCAPES)
def test_python_is_out_of_reach(source):
    with contextlib.suppress(RequestError):
        assert render(source) == ""  # what is out of reach may also be undefined, which prints as nothing


@pytest.mark.parametrize(
    "source", ["{% if %}", "{{", "{% for %}", "{{ " + "(" * 5000 + ")" * 5000 + " }}", "x" * (MAX_SOURCE + 1)]
)
def test_a_template_that_cannot_be_compiled_is_a_bad_request(source):
    with pytest.raises(RequestError, match="chat template"):
        JinjaChatTemplate(source)


def test_the_templates_own_refusal_is_told():
    with pytest.raises(RequestError, match="roles must alternate") as caught:
        render("{{ raise_exception('roles must alternate') }}")
    assert caught.value.param == "messages"


def test_output_up_to_the_limit_is_given():
    half = [{"role": "user", "content": "x" * (MAX_OUTPUT // 2)}]
    assert len(render(CHATML, half)) > MAX_OUTPUT // 2
    with pytest.raises(RequestError):
        render(CHATML, half * 3)


@pytest.mark.parametrize("name", ["messages", "tokenize", "chat_template", "_x", "a.b", "bos_token", "range", "x" * 99])
def test_reserved_names_are_refused(name):
    for way in ({"variables": {name: 1}}, {name: 1}):
        with pytest.raises(RequestError, match="chat_template_kwargs") as caught:
            JinjaChatTemplate(CHATML).render(CHATS["one"], **way)
    assert caught.value.param.startswith("chat_template_kwargs")


def test_the_list_of_reserved_names_holds_what_templates_are_given():
    assert {"messages", "tools", "documents", "add_generation_prompt", "tokenize", "chat_template"} <= RESERVED


def test_objects_with_methods_never_reach_the_template():
    class Spy:
        def leak(self):
            raise AssertionError("called")

    chat = [{"role": "user", "content": "x", "extra": Spy()}]
    assert render("{{ messages[0].extra }}", chat) == "<Spy>"
    assert render("{{ thing }}", thing=Spy()) == "<Spy>"


def test_messages_are_not_changed():
    chat = [{"role": "user", "content": [{"type": "text", "text": "a"}]}, {"role": "assistant", "content": "b"}]
    before = repr(chat)
    render("{{ messages|tojson }}", chat, continue_final_message=True)
    assert repr(chat) == before


@pytest.mark.parametrize(
    "chat", [[], [{"role": "assistant"}], [{"role": "assistant", "content": None}], [{"role": "a", "content": []}]]
)
def test_nothing_to_continue_is_a_bad_request(chat):
    with pytest.raises(RequestError, match="continue_final_message"):
        render("{{ messages }}", chat, continue_final_message=True)


def test_continue_and_prompt_exclude_each_other():
    with pytest.raises(RequestError, match="exclude"):
        render(CHATML, continue_final_message=True, add_generation_prompt=True)


@pytest.mark.parametrize("messages", [["hi"], [None], [3]])
def test_a_message_is_an_object(messages):
    with pytest.raises(RequestError, match="must be an object"):
        render(CHATML, messages)


def test_deep_messages_are_a_bad_request():
    deep = {}
    for _ in range(500):
        deep = {"a": deep}
    with pytest.raises(RequestError, match="deep"):
        render(CHATML, [{"role": "user", "content": "x", "extra": deep}])


def test_threads_have_budgets_of_their_own():
    template, loop = JinjaChatTemplate(CHATML), JinjaChatTemplate(TOO_MUCH["nested loops"])
    found = []

    def slow():
        with pytest.raises(RequestError):
            loop.render([])
        found.append("slow")

    thread = threading.Thread(target=slow)
    thread.start()
    for _ in range(200):
        assert template.render(CHATS["one"]) == "<|im_start|>user\nHi<|im_end|>\n"
    thread.join()
    assert found == ["slow"]
