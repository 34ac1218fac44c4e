"""Anthropic's Messages API: POST /v1/messages and /v1/messages/count_tokens."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import msgspec

from ...constrained.wire import ConstraintFields, constraint_in
from ...errors import RequestError, UnsupportedContent
from ..generate_request import GenerateChunk
from ..messages import Finish
from .conversation import converse
from .errors import error_body
from .generation import Tally, gather
from .http import Answer, EventStream, Request, json_response
from .messages import prompt_ids, template_messages
from .route import Handler, Route
from .service import Service
from .tools.plan import ToolPlan, plan_tools, read
from .tools.stream import ToolStream

_encode = msgspec.json.Encoder().encode
_NAMES = {"max_new_tokens": "max_tokens", "stop": "stop_sequences"}
_PING = b'event: ping\ndata: {"type":"ping"}\n\n'


class Metadata(msgspec.Struct):
    """What a client says of a request."""

    user_id: str | None = None
    """Whose share of the machine it takes, among those of the key."""


class MessagesBody(ConstraintFields, kw_only=True):
    """Anthropic's body; `cache_control` is accepted."""

    messages: list[Any]
    max_tokens: int
    model: str | None = None
    system: Any = None
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    tools: list[Any] | None = None
    tool_choice: dict[str, Any] | None = None
    metadata: Metadata | None = None


class CountBody(msgspec.Struct, kw_only=True):
    messages: list[Any]
    model: str | None = None
    system: Any = None
    tools: list[Any] | None = None
    tool_choice: dict[str, Any] | None = None


async def messages(service: Service, request: Request) -> Answer:
    """POST /v1/messages."""
    body = await request.struct(MessagesBody)
    service.check_fields(request)
    adapter = service.adapter_of(body.model)
    if body.max_tokens < 1:
        raise RequestError(f"max_tokens must be at least 1, found {body.max_tokens}", param="max_tokens")
    plan = _plan(service, body)
    given = {
        "temperature": body.temperature,
        "top_p": body.top_p,
        "top_k": body.top_k,
        "max_new_tokens": body.max_tokens,
    }
    sampling: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if body.stop_sequences:
        sampling["stop"] = tuple(body.stop_sequences)
    chunks = await converse(
        service,
        request,
        messages=_conversation(body),
        plan=plan,
        sampling=sampling,
        adapter=adapter,
        found=constraint_in(body),
        user=body.metadata.user_id if body.metadata is not None else None,
        names=_NAMES,
        stream=bool(body.stream),
    )
    shape = _Shape(body.model or service.model_name, plan)
    if body.stream:
        return EventStream(
            shape.stream(chunks),
            keep_alive=_PING,
            on_error=lambda error: b"event: error\ndata: " + error_body(error, "anthropic") + b"\n\n",
        )
    return await request.guard(shape.whole(chunks))


async def count_tokens(service: Service, request: Request) -> Answer:
    """POST /v1/messages/count_tokens."""
    body = await request.struct(CountBody)
    service.adapter_of(body.model)
    ids = await prompt_ids(service, _conversation(body), _plan(service, body))
    return json_response({"input_tokens": len(ids)})


def _plan(service: Service, body: MessagesBody | CountBody) -> ToolPlan | None:
    tools = None
    if body.tools is not None:
        tools = []
        for index, tool in enumerate(body.tools):
            if not isinstance(tool, dict):
                raise RequestError(f"tools.{index} must be an object", param=f"tools.{index}")
            function = {"name": tool.get("name"), "parameters": tool.get("input_schema")}
            if tool.get("description") is not None:
                function["description"] = tool["description"]
            tools.append({"type": "function", "function": function, "strict": tool.get("strict")})
    choice: Any = None
    if body.tool_choice is not None:
        kind = body.tool_choice.get("type")
        if kind == "tool":
            choice = {"type": "function", "function": {"name": body.tool_choice.get("name")}}
        elif kind in ("auto", "any", "none"):
            choice = {"any": "required"}.get(kind, kind)
        else:
            raise RequestError("tool_choice.type must be auto, any, tool or none", param="tool_choice.type")
    return plan_tools(
        tools,
        choice,
        form=service.tool_form,
        is_parallel=not (body.tool_choice or {}).get("disable_parallel_tool_use"),
        schema_path="input_schema",
    )


def _conversation(body: MessagesBody | CountBody) -> list[dict[str, Any]]:
    """Anthropic's messages in OpenAI's shape."""
    told: list[dict[str, Any]] = []
    if body.system:
        told.append({"role": "system", "content": body.system})
    for index, message in enumerate(body.messages):
        path = f"messages.{index}"
        if not isinstance(message, dict) or message.get("role") not in ("user", "assistant"):
            raise RequestError(f"{path}.role must be user or assistant", param=f"{path}.role")
        content = message.get("content")
        if isinstance(content, list):
            told += _blocks(message["role"], content, f"{path}.content")
        else:
            told.append({"role": message["role"], "content": content})
    return template_messages(told)


def _blocks(role: str, blocks: list[Any], path: str) -> list[dict[str, Any]]:
    texts: list[Any] = []
    calls: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for index, block in enumerate(blocks):
        where = f"{path}.{index}"
        kind = block.get("type") if isinstance(block, dict) else None
        if kind == "text":
            texts.append(block)
        elif kind == "tool_use":
            arguments = json.dumps(block.get("input") or {}, ensure_ascii=False)
            function = {"name": block.get("name"), "arguments": arguments}
            calls.append({"id": block.get("id"), "type": "function", "function": function})
        elif kind == "tool_result":
            results.append(
                {"role": "tool", "tool_call_id": block.get("tool_use_id") or "", "content": block.get("content") or ""}
            )
        elif kind not in ("thinking", "redacted_thinking"):
            raise UnsupportedContent(f"this model takes text only; {where} is {str(kind)[:40]!r}", param=where)
    own: list[dict[str, Any]] = []
    if texts or calls:
        own = [{"role": role, "content": texts or None, **({"tool_calls": calls} if calls else {})}]
    return [*results, *own]


def _stop(finish: Finish | None, ends_in_calls: bool) -> dict[str, Any]:
    matched = finish.matched if finish is not None and isinstance(finish.matched, str) else None
    if ends_in_calls and finish is not None and finish.type == "stop":
        return {"stop_reason": "tool_use", "stop_sequence": None}
    if finish is not None and finish.type == "length":
        return {"stop_reason": "max_tokens", "stop_sequence": None}
    return {"stop_reason": "stop_sequence" if matched is not None else "end_turn", "stop_sequence": matched}


def _usage(tally: Tally) -> dict[str, int]:
    return {
        "input_tokens": tally.prompt_len - tally.cached_len,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": tally.cached_len,
        "output_tokens": tally.completion_len,
    }


_THINKING: dict[str, Any] = {"type": "thinking", "thinking": "", "signature": ""}
_OPENED_BY: dict[str, dict[str, Any]] = {"text_delta": {"type": "text", "text": ""}, "thinking_delta": _THINKING}
"""The blocks that begin with their first piece."""


class _Shape:
    """A message, whole or as events."""

    def __init__(self, model: str, plan: ToolPlan | None) -> None:
        self._plan = plan
        self._head: dict[str, Any] = {
            "id": f"msg_{uuid.uuid4().hex[:24]}", "type": "message", "role": "assistant", "model": model,
        }  # fmt: skip

    async def whole(self, chunks: AsyncIterator[GenerateChunk]) -> Answer:
        tally = Tally()
        (generation,), _ = await gather(chunks, 1, tally)
        text, calls = read("".join(generation.text), self._plan)
        thought = "".join(generation.thought)
        content: list[dict[str, Any]] = [{**_THINKING, "thinking": thought}] if thought else []
        if text or not calls:
            content.append({"type": "text", "text": text})
        for call in calls:
            content.append({"type": "tool_use", "id": _tool_id(), "name": call.name, "input": _object(call.arguments)})
        stop = _stop(generation.finish, bool(calls) and calls[-1].is_whole)
        return json_response({**self._head, "content": content, **stop, "usage": _usage(tally)})

    async def stream(self, chunks: AsyncGenerator[GenerateChunk, None]) -> AsyncIterator[bytes]:
        tally = Tally()
        tools = ToolStream(self._plan) if self._plan is not None else None
        index, is_open, opened = -1, False, ""
        begun = False
        async with contextlib.aclosing(chunks):
            async for chunk in chunks:
                tally.take(chunk)
                if not begun:
                    begun = True
                    empty: dict[str, Any] = {"content": [], "stop_reason": None, "stop_sequence": None}
                    start = {**self._head, **empty, "usage": {**_usage(tally), "output_tokens": 0}}
                    yield _event("message_start", message=start)
                deltas: list[dict[str, Any]] = [{"content": chunk.text}] if chunk.text else []
                if tools is not None:
                    deltas = tools.take(chunk.text, is_last=chunk.finish is not None)
                if chunk.thought:
                    deltas = [{"thought": chunk.thought}, *deltas]
                for delta in deltas:
                    for block, piece in _pieces(delta):
                        first = block or _OPENED_BY.get(piece.get("type", ""))
                        if first is not None and (block is not None or first["type"] != opened):
                            if is_open:
                                yield _event("content_block_stop", index=index)
                            index, is_open, opened = index + 1, True, first["type"]
                            yield _event("content_block_start", index=index, content_block=first)
                        if piece:
                            yield _event("content_block_delta", index=index, delta=piece)
                if chunk.finish is not None:
                    if index < 0:  # clients expect one block
                        index, is_open = 0, True
                        yield _event("content_block_start", index=0, content_block={"type": "text", "text": ""})
                    if is_open:
                        yield _event("content_block_stop", index=index)
                    stop = _stop(chunk.finish, tools is not None and tools.ends_in_calls)
                    yield _event("message_delta", delta=stop, usage=_usage(tally))
                    yield _event("message_stop")


def _pieces(delta: dict[str, Any]) -> list[tuple[dict[str, Any] | None, dict[str, Any]]]:
    """(the block that begins, or None; the delta inside it) of a chat delta."""
    if "thought" in delta:
        return [(None, {"type": "thinking_delta", "thinking": delta["thought"]})]
    if "content" in delta:
        return [(None, {"type": "text_delta", "text": delta["content"]})]
    told: list[tuple[dict[str, Any] | None, dict[str, Any]]] = []
    for call in delta["tool_calls"]:
        block = None
        if "id" in call:
            block = {"type": "tool_use", "id": _tool_id(), "name": call["function"]["name"], "input": {}}
        arguments = call["function"].get("arguments", "")
        piece = {"type": "input_json_delta", "partial_json": arguments} if arguments else {}
        told.append((block, piece))
    return told


def _tool_id() -> str:
    return f"toolu_{uuid.uuid4().hex[:24]}"


def _object(arguments: str) -> Any:
    """What was cut off by max_tokens is told as it is, under one key."""
    try:
        return json.loads(arguments)
    except ValueError:
        return {"_incomplete": arguments}


def _event(kind: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode({"type": kind, **fields}))


def routes() -> list[Route]:
    def post(path: str, handler: Handler, kind: type, summary: str) -> Route:
        return Route(path=path, handler=handler, body=kind, style="anthropic", summary=summary)

    return [
        post("/v1/messages", messages, MessagesBody, "Messages (Anthropic)"),
        post("/v1/messages/count_tokens", count_tokens, CountBody, "Count tokens (Anthropic)"),
    ]
