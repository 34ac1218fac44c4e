from __future__ import annotations

import pytest

from radixlang.lang.chat_template import (
    ChatTemplate,
    chat_template_registry,
    get_chat_template,
    get_chat_template_by_model_path,
    matching_function_registry,
    register_chat_template,
    register_chat_template_matching_function,
)
from radixlang.lang.jinja import JinjaChatTemplate

CHAT = [
    {"role": "system", "content": None},
    {"role": "user", "content": "HELLO"},
    {"role": "assistant", "content": "REPLY"},
    {"role": "user", "content": "?"},
]


def test_there_are_27_templates_and_each_renders_a_conversation():
    assert len(chat_template_registry) >= 27
    for name, template in list(chat_template_registry.items()):
        assert template.name == name
        prompt = template.get_prompt(CHAT[:1] + CHAT[1:])
        assert prompt.index("HELLO") < prompt.index("REPLY") < prompt.rindex("?")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("deepseek-ai/DeepSeek-V3", "deepseek-v3"),
        ("deepseek-ai/DeepSeek-V3-Base", "default"),
        ("meta-llama/Llama-2-7b-chat-hf", "llama-2-chat"),
        ("meta-llama/Meta-Llama-3-8B-Instruct", "llama-3-instruct"),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "mistral"),
        ("Qwen/Qwen2-7B-Instruct", "qwen"),
        ("Qwen/Qwen2-VL-7B-Instruct", "qwen2-vl"),
        ("google/gemma-2-9b-it", "gemma-it"),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "chatml"),
        ("gpt2", "default"),
    ],
)
def test_a_models_path_tells_its_template(path, name):
    assert get_chat_template_by_model_path(path).name == name


def test_llama_2_puts_the_system_message_into_the_first_user_turn():
    template = get_chat_template("llama-2-chat")
    chat = [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]
    assert template.get_prompt(chat) == "[INST] <<SYS>>\nS\n<</SYS>>\n\nU [/INST]"
    assert template.get_prompt(CHAT[1:]) == "[INST] HELLO [/INST]REPLY </s><s>[INST] ? [/INST]"


def test_programs_add_their_own():
    template = ChatTemplate("mine", "SYS", {"system": ("<s>", "</s>"), "user": ("<u>", "</u>")}, ("</u>",))
    register_chat_template(template)

    @register_chat_template_matching_function
    def match(path):
        return "mine" if "mine-7b" in path else None

    try:
        assert get_chat_template_by_model_path("org/mine-7b") is template
        assert template.get_prompt(CHAT[:2]) == "<s>SYS</s><u>HELLO</u>"
    finally:
        matching_function_registry.remove(match)
        del chat_template_registry["mine"]
    with pytest.raises(KeyError, match="no chat template"):
        get_chat_template("mine")


@pytest.mark.parametrize("name", list(chat_template_registry))
def test_as_jinja_a_template_renders_the_same(name):
    template = chat_template_registry[name]
    jinja = JinjaChatTemplate(template.to_jinja())
    system = {"role": "system", "content": " {{ S }} "}
    turns = [{**message, "content": f" {message['content']}\n"} for message in CHAT[1:]]
    turns += [{"role": "tool", "content": "T"}]
    default = CHAT[:1] if template.default_system_prompt is not None else []
    for given in ([system, *turns], turns, turns[:1]):
        told = given if given[0] is system else default + given
        assert jinja.render(given) == template.get_prompt(told)
    opening = template.role_prefix_and_suffix["assistant"][0]
    assert jinja.render(turns, add_generation_prompt=True) == jinja.render(turns) + opening
