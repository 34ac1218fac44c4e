"""How roles become text: a prefix and a suffix each, per model family.

The registry holds named templates; programs add their own. Which one a model means by its path is a guess by name;
a checkpoint's own template (model_template.py) comes first.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


class ChatTemplateStyle(enum.Enum):
    PLAIN = enum.auto()
    LLAMA2 = enum.auto()
    """The first user turn holds the system message."""


@dataclass
class ChatTemplate:
    """Prefixes and suffixes by role; `stop_str` end an assistant's turn; None as system prompt: there is none."""

    name: str
    default_system_prompt: str | None
    role_prefix_and_suffix: dict[str, tuple[str, str]]
    stop_str: Sequence[str] = ()
    image_token: str = "<image>"
    audio_token: str = "<audio>"
    style: ChatTemplateStyle = ChatTemplateStyle.PLAIN

    def get_prefix_and_suffix(self, role: str, hist_messages: Sequence[dict[str, Any]]) -> tuple[str, str]:
        """What goes before and after the content of the message that follows `hist_messages`."""
        if role == "tool" and role not in self.role_prefix_and_suffix:  # what a tool gave comes from outside
            role = "user"
        prefix, suffix = self.role_prefix_and_suffix.get(role, ("", ""))
        if self.style is ChatTemplateStyle.LLAMA2:
            if role == "system" and not hist_messages:
                return self.role_prefix_and_suffix.get("user", ("", ""))[0] + prefix, suffix
            if role == "user" and len(hist_messages) == 1 and hist_messages[0]["content"] is not None:
                return "", suffix
        return prefix, suffix

    def get_prompt(self, messages: Sequence[dict[str, Any]]) -> str:
        """The conversation as text; a system message without content takes the default one."""
        parts: list[str] = []
        for i, message in enumerate(messages):
            content = message["content"]
            if message["role"] == "system" and content is None:
                content = self.default_system_prompt
                if content is None:
                    continue
            prefix, suffix = self.get_prefix_and_suffix(message["role"], messages[:i])
            parts.append(f"{prefix}{content}{suffix}")
        return "".join(parts)

    def to_jinja(self) -> str:
        """Jinja source that renders messages as `get_prompt` does; the default system prompt comes by itself."""
        pairs = self.role_prefix_and_suffix
        prefix, suffix = (json.dumps({role: pair[i] for role, pair in pairs.items()}) for i in (0, 1))
        return _JINJA % (
            prefix,
            suffix,
            json.dumps(self.default_system_prompt or ""),
            str(self.style is ChatTemplateStyle.LLAMA2).lower(),
        )


_JINJA = """\
{%%- set prefix = %s -%%}{%%- set suffix = %s -%%}{%%- set system = %s -%%}{%%- set shares_first_turn = %s -%%}
{%%- if system and messages[0].role != 'system' -%%}
{%%- set messages = [{'role': 'system', 'content': system}] + messages -%%}
{%%- endif -%%}
{%%- for message in messages -%%}
{%%- set role = 'user' if message.role == 'tool' and 'tool' not in prefix else message.role -%%}
{%%- set after_system = shares_first_turn and loop.index0 == 1 and messages[0].role == 'system' -%%}
{%%- if shares_first_turn and loop.first and role == 'system' -%%}{{ prefix.user }}{%%- endif -%%}
{%%- if not (after_system and role == 'user') -%%}{{ prefix.get(role, '') }}{%%- endif -%%}
{{ message.content }}{{ suffix.get(role, '') }}
{%%- endfor -%%}
{%%- if add_generation_prompt -%%}{{ prefix.assistant }}{%%- endif -%%}"""

MatchingFunction = Callable[[str], "ChatTemplate | str | None"]

chat_template_registry: dict[str, ChatTemplate] = {}
matching_function_registry: list[MatchingFunction] = []


def register_chat_template(template: ChatTemplate) -> None:
    chat_template_registry[template.name] = template


def register_chat_template_matching_function(func: MatchingFunction) -> MatchingFunction:
    """`func(model_path)` gives a template, its name, or None; the first that answers decides."""
    matching_function_registry.append(func)
    return func


def get_chat_template(name: str) -> ChatTemplate:
    if name not in chat_template_registry:
        known = ", ".join(sorted(chat_template_registry))
        raise KeyError(f"no chat template {name!r}; there are {known}")
    return chat_template_registry[name]


def get_chat_template_by_model_path(model_path: str) -> ChatTemplate:
    """The template that a model of this name is known to use; "default" when nothing is known."""
    for func in matching_function_registry:
        found = func(model_path)
        if found is not None:
            return get_chat_template(found) if isinstance(found, str) else found
    return get_chat_template("default")


def _register_named() -> None:
    from .named_templates import NAMED_TEMPLATES, template_name_of

    for template in NAMED_TEMPLATES:
        register_chat_template(template)
    register_chat_template_matching_function(template_name_of)


_register_named()
