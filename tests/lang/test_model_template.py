from __future__ import annotations

import pytest

from radixlang.lang.jinja import JinjaChatTemplate
from radixlang.lang.model_template import derive, template_of_model

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WITH_DEFAULT = "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}" + CHATML
LLAMA_3 = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
    "{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
NO_SYSTEM = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{{ m['content'] }}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
SYSTEM_IN_USER = (
    "{% for m in messages %}{% if m['role'] == 'user' %}[INST] {% if loop.index0 == 1 and messages[0]['role'] == "
    "'system' %}{{ messages[0]['content'] }}\n\n{% endif %}{{ m['content'] }} [/INST]"
    "{% elif m['role'] == 'assistant' %} {{ m['content'] }}</s>{% endif %}{% endfor %}"
)

TALK = [
    {"role": "user", "content": "One?"},
    {"role": "assistant", "content": "Two."},
    {"role": "user", "content": "Three?"},
]


@pytest.mark.parametrize("source", [CHATML, WITH_DEFAULT, LLAMA_3, NO_SYSTEM])
def test_the_derived_template_renders_as_the_jinja_does(source):
    template = derive(source, bos_token="<bos>")
    assert template is not None
    jinja = JinjaChatTemplate(source, bos_token="", eos_token="")
    default = [{"role": "system", "content": None}] if template.default_system_prompt else []
    assert template.get_prompt(default + TALK) == jinja.render(TALK)
    prefix, _ = template.get_prefix_and_suffix("assistant", TALK)
    assert template.get_prompt(default + TALK) + prefix == jinja.render(TALK, add_generation_prompt=True)
    if source is not NO_SYSTEM:
        chat = [{"role": "system", "content": "Mine."}, *TALK]
        assert template.get_prompt(chat) == jinja.render(chat)


def test_default_system_prompt_and_stop_are_found():
    template = derive(WITH_DEFAULT)
    assert (template.default_system_prompt, tuple(template.stop_str)) == ("Be kind.", ("<|im_end|>",))


def test_a_template_that_is_no_sequence_of_turns_gives_way_to_a_named_one():
    assert derive(SYSTEM_IN_USER) is None
    info = {"model_path": "meta-llama/Llama-2-7b-chat-hf", "chat_template": SYSTEM_IN_USER}
    assert template_of_model(info).name == "llama-2-chat"
    assert template_of_model({"model_path": "gpt2", "chat_template": None}).name == "default"
    assert derive("{{ nonsense(") is None
