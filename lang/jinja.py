"""A checkpoint's chat template, rendered as transformers renders it, without transformers.

The template is a stranger's program and the messages are another's: the first is bounded and sandboxed
(jinja_sandbox.py), the second are rebuilt of plain JSON values, so that nothing with methods is ever in reach.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jinja2

from ..errors import RequestError
from .jinja_sandbox import MAX_OUTPUT, TIME_LIMIT_S, Budget, compile_template, spending

MAX_SOURCE = 1 << 17
"""Characters of a template; the longest of known models have 20,000."""
RESERVED = frozenset({
    "add_generation_prompt", "bos_token", "chat_template", "continue_final_message", "conversation", "cycler", "dict",
    "documents", "eos_token", "joiner", "max_length", "messages", "namespace", "padding", "raise_exception", "range",
    "return_assistant_tokens_mask", "return_dict", "return_tensors", "self", "strftime_now", "tokenize",
    "tokenizer_kwargs", "tools", "truncation",
})  # fmt: skip
"""Names that are not a caller's to set."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_REASONING = ("reasoning_content", "thinking", "reasoning")
_CONTINUE = "CONTINUE_FINAL_MESSAGE_TAG "


class JinjaChatTemplate:
    """Thread-safe. Raises RequestError for a template that cannot be compiled."""

    def __init__(self, source: str, bos_token: str = "", eos_token: str = "") -> None:
        self.source = source
        self.bos_token = bos_token
        self.eos_token = eos_token
        if len(source) > MAX_SOURCE:
            raise _error(f"it has {len(source)} characters; at most {MAX_SOURCE} are read")
        try:
            self._template = compile_template(source)
        except (jinja2.TemplateError, RecursionError, ValueError, SyntaxError, MemoryError) as why:
            raise _error(str(why) or type(why).__name__) from None

    def render(
        self,
        messages: Iterable[Mapping[str, Any]],
        /,
        add_generation_prompt: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        continue_final_message: bool = False,
        *,
        variables: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> str:
        """The conversation as the model's text, at most MAX_OUTPUT characters, within TIME_LIMIT_S.

        `continue_final_message`: the last message stays open, for the model to go on with it. `variables` (a request's
        chat_template_kwargs, checked here) and `kwargs` are told to the template. Raises RequestError for what the
        template refuses or cannot do.
        """
        given = {**kwargs, **(variables or {})}
        for name in given:
            if name in RESERVED or not _NAME.fullmatch(name):
                raise RequestError(
                    f"chat_template_kwargs cannot set {name!r}; drop it", param=f"chat_template_kwargs.{name[:64]}"
                )
        if continue_final_message and add_generation_prompt:
            raise RequestError(
                "continue_final_message and add_generation_prompt exclude each other; send one of them",
                param="continue_final_message",
            )
        chat = [_with_reasoning(_message(message)) for message in messages]
        final = _open_final(chat) if continue_final_message else ""
        variables = {
            **_plain(given),
            "messages": chat,
            "tools": None if tools is None else [_plain(tool) for tool in tools],
            "documents": None if documents is None else [_plain(document) for document in documents],
            "add_generation_prompt": add_generation_prompt,
            "bos_token": self.bos_token,
            "eos_token": self.eos_token,
        }
        text = self._render(variables)
        return _cut_at_final(text, final) if continue_final_message else text

    def _render(self, variables: dict[str, Any]) -> str:
        parts: list[str] = []
        size = 0
        try:
            with spending(Budget(MAX_OUTPUT, TIME_LIMIT_S)):
                for part in self._template.generate(variables):
                    size += len(part)
                    if size > MAX_OUTPUT:
                        raise _error(f"it renders to more than {MAX_OUTPUT} characters")
                    parts.append(part)
        except RequestError:
            raise
        except Exception as why:  # a template may raise whatever Python can; all of it is the request's 400
            raise _error(str(why)[:2000] or type(why).__name__) from None
        return "".join(parts)


def _error(why: str) -> RequestError:
    return RequestError(f"the chat template cannot be applied: {why}", param="messages", code="chat_template_error")


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise RequestError(f"a message must be an object, found {type(message).__name__}", param="messages")
    plain: dict[str, Any] = _plain(message)
    return plain


def _plain(value: Any, depth: int = 0) -> Any:
    """A copy made of JSON types; anything else becomes its type's name."""
    if depth > 100:
        raise RequestError("the messages are nested too deeply", param="messages")
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, Mapping):
        return {_plain(key, depth + 1): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, depth + 1) for item in value]
    return f"<{type(value).__name__}>"


def _with_reasoning(message: dict[str, Any]) -> dict[str, Any]:
    """Templates read reasoning under several names; all of them are given."""
    found = next((message[name] for name in _REASONING if message.get(name) is not None), None)
    return message if found is None else {"thinking": found, **message, "reasoning_content": found}


def _open_final(chat: list[dict[str, Any]]) -> str:
    """Marks the end of the last message's text; returns that text."""
    content = chat[-1].get("content") if chat else None
    if isinstance(content, str):
        chat[-1]["content"] = content + _CONTINUE
        return content
    if isinstance(content, list):
        for part in reversed(content):
            if isinstance(part, dict) and isinstance(part.get("text"), str):
                text: str = part["text"]
                part["text"] = text + _CONTINUE
                return text
    raise RequestError("continue_final_message needs a last message with text", param="continue_final_message")


def _cut_at_final(text: str, final: str) -> str:
    """The rendered text up to the end of the last message; templates that trim it trim the end here too."""
    at = text.rfind(_CONTINUE.strip())
    if at < 0 or final.strip() not in text:
        raise RequestError(
            "continue_final_message: the chat template does not render the last message as it is",
            param="continue_final_message",
        )
    kept = text[:at]
    return kept if text.startswith(_CONTINUE, at) else kept.rstrip()
