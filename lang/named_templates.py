"""The chat templates of known model families, and which model names mean them.

Sources: the chat_template of each family's tokenizer_config.json; names and patterns are those that SGLang's
programs pass as chat_template_name.
"""

from __future__ import annotations

import re

from .chat_template import ChatTemplate, ChatTemplateStyle

_Pair = tuple[str, str]


def _chatml(name: str, system: str | None = None, image: str = "<image>", stops: tuple[str, ...] = ()) -> ChatTemplate:
    roles = {r: (f"<|im_start|>{r}\n", "<|im_end|>\n") for r in ("system", "user", "assistant")}
    return ChatTemplate(name, system, roles, ("<|im_end|>", *stops), image)


def _plain(
    name: str,
    system: _Pair,
    user: _Pair,
    assistant: _Pair,
    *,
    default: str | None = None,
    stop: tuple[str, ...] = (),
    image: str = "<image>",
    audio: str = "<audio>",
    style: ChatTemplateStyle = ChatTemplateStyle.PLAIN,
) -> ChatTemplate:
    roles = {"system": system, "user": user, "assistant": assistant}
    return ChatTemplate(name, default, roles, stop, image, audio, style)


def _header(name: str, left: str, right: str, end: str, image: str = "<image>") -> ChatTemplate:
    roles = {r: (f"{left}{r}{right}", end) for r in ("system", "user", "assistant")}
    return ChatTemplate(name, None, roles, (end,), image)


_HELPFUL = "You are a helpful assistant."
_LLAMA_2_STYLE = ChatTemplateStyle.LLAMA2

NAMED_TEMPLATES: tuple[ChatTemplate, ...] = (
    _plain("default", ("SYSTEM:", "\n"), ("USER:", "\n"), ("ASSISTANT:", "\n")),
    _plain("claude", ("", ""), ("\n\nHuman: ", ""), ("\n\nAssistant:", "")),
    _chatml("chatml"),
    _chatml("chatml-llava", _HELPFUL, "<image>\n"),
    _chatml("qwen", _HELPFUL),
    _chatml("qwen2-vl", _HELPFUL, "<|vision_start|><|image_pad|><|vision_end|>"),
    _plain(
        "vicuna_v1.1",
        ("", " "),
        ("USER:", " "),
        ("ASSISTANT:", "</s>"),
        default="A chat between a curious user and an artificial intelligence assistant. "
        "The assistant gives helpful, detailed, and polite answers to the user's questions.",
        image=" <image>\n",
    ),
    _plain(
        "llama-2-chat",
        ("<<SYS>>\n", "\n<</SYS>>\n\n"),
        ("[INST] ", " [/INST]"),
        ("", " </s><s>"),
        style=_LLAMA_2_STYLE,
    ),
    _plain(
        "mistral",
        ("[SYSTEM_PROMPT] ", " [/SYSTEM_PROMPT]"),
        ("[INST] ", " [/INST]"),
        ("", " </s><s>"),
        stop=("</s>",),
        image="[IMG]",
    ),
    _header("llama-3-instruct", "<|start_header_id|>", "<|end_header_id|>\n\n", "<|eot_id|>", "<|image|>"),
    _header("llama-3-instruct-llava", "<|start_header_id|>", "<|end_header_id|>\n\n", "<|eot_id|>", "<image>\n"),
    _header("llama-4", "<|header_start|>", "<|header_end|>\n\n", "<|eot|>", "<|image|>"),
    _plain(
        "minicpmv",
        ("", " "),
        ("user:", " "),
        ("assistant:", "</s>"),
        stop=("<|im_end|>", "<|endoftext|>"),
        image="(<image>./</image>)",
    ),
    _plain(
        "minicpmo",
        ("", " "),
        ("user:", " "),
        ("assistant:", "</s>"),
        stop=("<|im_end|>", "<|endoftext|>"),
        image="(<image>./</image>)",
        audio="(<audio>./</audio>)",
    ),
    _plain(
        "janus-pro",
        ("", ""),
        ("<｜User｜>", ""),
        ("<｜Assistant｜>", "<｜end▁of▁sentence｜>"),
        stop=("<｜end▁of▁sentence｜>",),
        image="<image_placeholder>\n",
    ),
    _plain(
        "yi-1.5",
        ("", ""),
        ("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"),
        ("", "<|im_end|>\n"),
        stop=("<|im_end|>",),
    ),
    _plain(
        "yi-vl",
        ("", "\n\n"),
        ("### Human:", "\n"),
        ("### Assistant:", "\n"),
        default="This is a chat between an inquisitive human and an AI assistant. Assume the role of the AI assistant. "
        "Read all the images carefully, and respond to the human's questions with informative, helpful, detailed and "
        "polite answers. 这是一个好奇的人类和一个人工智能助手之间的对话。假设你扮演这个AI助手的角色。"
        "仔细阅读所有的图像，并对人类的问题做出信息丰富、有帮助、详细的和礼貌的回答。",
        image=" <image_placeholder>\n",
    ),
    _plain(
        "gemma-it",
        ("", ""),
        ("<start_of_turn>user\n", "<end_of_turn>\n"),
        ("<start_of_turn>model\n", "<end_of_turn>\n"),
    ),
    _plain(
        "dbrx-instruct",
        ("<|im_start|>system\n", "<|im_end|>"),
        ("\n<|im_start|>user\n", "<|im_end|>"),
        ("\n<|im_start|>assistant\n", "<|im_end|>"),
        default="You are DBRX, created by Databricks. You were last updated in December 2023. You answer questions "
        "based on information available up to that point.",
        stop=("<|im_end|>",),
    ),
    _plain(
        "c4ai-command-r",
        ("<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>", "<|END_OF_TURN_TOKEN|>"),
        ("<|START_OF_TURN_TOKEN|><|USER_TOKEN|>", "<|END_OF_TURN_TOKEN|>"),
        ("<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>", "<|END_OF_TURN_TOKEN|>"),
    ),
    _chatml(
        "internvl-2-5",
        "你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合开发的多模态大语言模型。",
        stops=("<|action_end|>",),
    ),
    _chatml(
        "interns1",
        "You are an AI assistant whose name is Intern-S1 (书生大模型), a vision-language model that is developed by "
        "Shanghai AI Laboratory (上海人工智能实验室). Please put your thinking process within <think>...</think> tags.",
        stops=("<|action_end|>",),
    ),
    _header("granite-3-instruct", "<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>"),
    _plain(
        "deepseek-v3",
        ("", ""),
        ("<｜User｜>", ""),
        ("<｜Assistant｜>", "<｜end▁of▁sentence｜>"),
        stop=("<｜end▁of▁sentence｜>",),
    ),
    _plain(
        "glm-4v",
        ("<|system|>\n", "\n"),
        ("<|user|>\n", "\n"),
        ("<|assistant|>\n", "\n"),
        stop=("<|user|>", "<|endoftext|>", "<|observation|>"),
        image="<|image|>",
    ),
    _plain(
        "phi-4-mm",
        ("<|system|>", "<|end|>"),
        ("<|user|>", "<|end|>"),
        ("<|assistant|>", "<|end|>"),
        stop=("<|end|>",),
        image="<|endoftext10|>",
        audio="<|endoftext11|>",
    ),
    _plain(
        "deepseek-vl2",
        ("", "\n\n"),
        ("<|User|>: ", "\n\n"),
        ("<|Assistant|>: ", "<｜end▁of▁sentence｜>"),
        stop=("<｜end▁of▁sentence｜>",),
        image="<image>\n",
    ),
)

# In order; the first that is found in the model's path decides. A pattern is for re.search, case ignored.
_BY_PATH: tuple[tuple[str, str], ...] = (
    (r"^(?!.*base).*deepseek-(v3|r1)", "deepseek-v3"),
    (r"deepseek-vl2", "deepseek-vl2"),
    (r"janus", "janus-pro"),
    (r"dbrx.*instruct", "dbrx-instruct"),
    (r"vicuna|llava-v1\.5|llava-next-video-7b", "vicuna_v1.1"),
    (r"llama-2.*chat|codellama.*instruct", "llama-2-chat"),
    (r"pixtral|(mistral|mixtral).*instruct", "mistral"),
    (r"llama-3.*instruct", "llama-3-instruct"),
    (r"llama-4.*instruct", "llama-4"),
    (r"phi-4-multimodal", "phi-4-mm"),
    (r"tinyllama|smollm.*instruct", "chatml"),
    (r"qwen.*vl", "qwen2-vl"),
    (r"glm[-_]?4(\.\d+)?v", "glm-4v"),
    (r"^(?!.*llava).*qwen.*(chat|instruct)", "qwen"),
    (r"llava-v1\.6-34b|llava-v1\.6-yi-34b|llava-next-video-34b|llava-onevision-qwen2", "chatml-llava"),
    (r"^(?!.*llava).*yi-vl", "yi-vl"),
    (r"yi-1\.5.*chat", "yi-1.5"),
    (r"gemma.*it|gemma-3", "gemma-it"),
    (r"minicpm-v", "minicpmv"),
    (r"minicpm-o", "minicpmo"),
    (r"c4ai-command-r", "c4ai-command-r"),
    (r"granite.*instruct", "granite-3-instruct"),
    (r"internvl2_5", "internvl-2-5"),
    (r"intern-?s1", "interns1"),
    (r"claude", "claude"),
)


def template_name_of(model_path: str) -> str | None:
    """The name of the template that a model of this path is known to use."""
    for pattern, name in _BY_PATH:
        if re.search(pattern, model_path, re.IGNORECASE):
            return name
    return None
