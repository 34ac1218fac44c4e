"""Chat messages as clients send them, made into what a chat template takes."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import msgspec

from ...errors import PromptTooLong, RequestError
from ...lang.jinja_sandbox import MAX_OUTPUT
from ..front import Front
from .openai_fields import text_of_parts
from .service import Service
from .tools.plan import ToolPlan
from .tools.text import with_tool_text

MAX_MESSAGES = 4096
ROLES = ("system", "developer", "user", "assistant", "tool", "function")


def template_messages(messages: list[Any] | None, path: str = "messages") -> list[dict[str, Any]]:
    """Checked messages: role and text content; tool calls with their arguments as objects. Raises RequestError."""
    if not messages:
        raise RequestError(f"{path} must be a list of one or more messages", param=path)
    if len(messages) > MAX_MESSAGES:
        raise RequestError(f"at most {MAX_MESSAGES} messages, found {len(messages)}", param=path)
    return [_message(message, f"{path}.{index}") for index, message in enumerate(messages)]


def _message(message: Any, path: str) -> dict[str, Any]:
    if not isinstance(message, dict):
        raise RequestError(f"{path} must be an object", param=path)
    role = message.get("role")
    if role not in ROLES:
        raise RequestError(f"{path}.role must be one of {', '.join(ROLES)}", param=f"{path}.role")
    told: dict[str, Any] = {
        "role": {"developer": "system", "function": "tool"}.get(role, role),
        "content": text_of_parts(message.get("content"), f"{path}.content"),
    }
    calls = message.get("tool_calls")
    if calls:
        told["tool_calls"] = _tool_calls(calls, f"{path}.tool_calls")
    for name in ("name", "tool_call_id", "reasoning_content"):
        value = message.get(name)
        if value is not None:
            if not isinstance(value, str):
                raise RequestError(f"{path}.{name} must be a string", param=f"{path}.{name}")
            told[name] = value
    return told


def _tool_calls(calls: Any, path: str) -> list[dict[str, Any]]:
    if not isinstance(calls, list):
        raise RequestError(f"{path} must be a list", param=path)
    told = []
    for index, call in enumerate(calls):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise RequestError(f"{path}.{index}.function needs a name", param=f"{path}.{index}.function")
        arguments = function.get("arguments", "{}")
        if isinstance(arguments, str):
            # What is not JSON a template prints as it is.
            with contextlib.suppress(msgspec.MsgspecError, RecursionError):
                arguments = msgspec.json.decode(arguments) if arguments.strip() else {}
        told.append(
            {"id": call.get("id"), "type": "function", "function": {"name": function["name"], "arguments": arguments}}
        )
    return told


def render(
    front: Front,
    messages: list[dict[str, Any]],
    *,
    tools: list[dict[str, Any]] | None = None,
    kwargs: dict[str, Any] | None = None,
    continue_final_message: bool = False,
) -> str:
    """The prompt. Raises RequestError for a model without a template, and for messages that its template refuses."""
    template = front.tool_template if tools is not None else front.template
    if template is None:
        raise RequestError(
            "this model has no chat template; use /v1/completions, or start the server with --chat-template",
            param="model",
        )
    return template.render(
        messages,
        tools=tools,
        add_generation_prompt=not continue_final_message,
        continue_final_message=continue_final_message,
        variables=kwargs,
    )


async def _fitting(service: Service, texts: Sequence[str], param: str) -> list[int]:
    """The ids of the texts. Raises PromptTooLong when no room for an answer is left."""
    try:
        ids = await service.front.tokenize(texts, add_bos=False)
    except PromptTooLong as error:
        error.param = param
        raise
    if len(ids) >= service.max_context:
        raise PromptTooLong(len(ids) + 1, service.max_context, param=param)
    return ids


async def prompt_ids(
    service: Service,
    messages: list[dict[str, Any]],
    plan: ToolPlan | None = None,
    *,
    kwargs: dict[str, Any] | None = None,
    continue_final_message: bool = False,
    param: str = "messages",
) -> list[int]:
    """The conversation's ids, tools included. Raises PromptTooLong when no room for an answer is left."""
    front = service.front
    knows_tools = front.tool_template is not None and "tools" in front.tool_template.source
    if plan is not None and not knows_tools:
        messages = with_tool_text(messages, plan)
    written = [m["content"] for m in messages if isinstance(m.get("content"), str)]
    if sum(map(len, written)) >= MAX_OUTPUT:  # more than a template may print
        await _fitting(service, written, param)
    text = render(
        front,
        messages,
        tools=plan.tools if plan is not None and knows_tools else None,
        kwargs=kwargs,
        continue_final_message=continue_final_message,
    )
    return await _fitting(service, [text], param)
