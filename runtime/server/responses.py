"""OpenAI's Responses API: POST /v1/responses, and the answers that it keeps."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

import msgspec

from ...errors import ModelNotFound, RequestError
from ..generate_request import GenerateChunk
from ..messages import Finish
from .conversation import converse
from .errors import error_object
from .generation import Tally, gather
from .http import Answer, EventStream, Request, json_response
from .responses_input import ResponsesBody, constraint_of, conversation, tools_of
from .responses_store import Kept
from .route import Route
from .service import Service
from .tools import ToolPlan, ToolStream, call_object, read

_encode = msgspec.json.Encoder().encode
_NAMES = {"max_new_tokens": "max_output_tokens"}


async def responses(service: Service, request: Request) -> Answer:
    """One answer, whole or as events."""
    body = await request.struct(ResponsesBody)
    service.check_fields(request)
    adapter = service.adapter_of(body.model)
    if body.background and (body.stream or body.store is False):
        wrong = "stream" if body.stream else "store"
        raise RequestError(f"an answer in the background is kept and asked for later: drop {wrong}", param=wrong)
    if body.max_output_tokens is not None and body.max_output_tokens < 1:
        raise RequestError("max_output_tokens must be at least 1", param="max_output_tokens")
    earlier: list[dict[str, Any]] = []
    num_bytes = request.held.num_bytes
    if body.previous_response_id is not None:
        before = _kept(service, request, body.previous_response_id, "previous_response_id")
        earlier = before.messages
        num_bytes += before.num_bytes
    said = conversation(body, earlier)
    plan = tools_of(body)
    asked = {"temperature": body.temperature, "top_p": body.top_p, "max_new_tokens": body.max_output_tokens}
    sampling = service.sampling_defaults | {name: value for name, value in asked.items() if value is not None}
    system = [{"role": "system", "content": body.instructions}] if body.instructions else []
    chunks = await converse(
        service,
        request,
        messages=[*system, *said],
        plan=plan,
        sampling=sampling,
        adapter=adapter,
        user=body.user,
        names=_NAMES,
        found=constraint_of(body),
        stream=bool(body.stream),
        prompt_param="input",
    )

    def keep(response: dict[str, Any], message: dict[str, Any]) -> None:
        if body.store is not False:
            put = service.responses.settle if body.background else service.responses.put
            put(Kept(response, [*said, message], request.client, num_bytes))

    shape = _Shape(body, sampling, body.model or service.model_name, plan, keep)
    if body.stream:
        return EventStream(shape.stream(chunks), on_error=shape.failed)
    if body.background:
        begun = shape.told("in_progress")
        service.responses.put(Kept(begun, said, request.client, num_bytes))
        service.responses.run(begun["id"], _in_background(service, shape, chunks))
        return json_response(begun)
    return await request.guard(shape.whole(chunks))


async def _in_background(service: Service, shape: _Shape, chunks: AsyncGenerator[GenerateChunk, None]) -> None:
    """An answer that is kept when it is whole; a server that ends waits for it as for others."""
    service.num_active += 1
    try:
        async with contextlib.aclosing(chunks):
            await shape.whole(chunks)
    except asyncio.CancelledError:
        shape.give_up("cancelled", None)
    except Exception as error:
        shape.give_up("failed", error)
    finally:
        service.num_active -= 1


async def cancel(service: Service, request: Request) -> Answer:
    """POST /v1/responses/{id}/cancel: ends an answer in the background; one that has ended is told as it is."""
    response_id = request.params["id"]
    kept = _kept(service, request, response_id, "id")
    if not service.responses.cancel(response_id):
        if not kept.response["background"]:
            raise RequestError("only answers in the background can be cancelled", param="id")
        return json_response(kept.response)
    return json_response({**kept.response, "status": "cancelled"})


async def input_items(service: Service, request: Request) -> Answer:
    """GET /v1/responses/{id}/input_items: the conversation before the answer."""
    kept = _kept(service, request, request.params["id"], "id")
    said = kept.messages if kept.response["status"] == "in_progress" else kept.messages[:-1]
    items = [
        {
            "id": f"{kept.response['id']}_{index}", "type": "message", "role": message["role"],
            "content": [{"type": "input_text", "text": message.get("content") or ""}],
        }
        for index, message in enumerate(said)
    ]  # fmt: skip
    ends = {"first_id": items[0]["id"], "last_id": items[-1]["id"]} if items else {"first_id": None, "last_id": None}
    return json_response({"object": "list", "data": items, **ends, "has_more": False})


def _kept(service: Service, request: Request, response_id: str, param: str) -> Kept:
    kept = service.responses.get(response_id, request.client)
    if kept is None:
        raise ModelNotFound(f"there is no response {response_id!r}", param=param, code="response_not_found")
    return kept


async def retrieve(service: Service, request: Request) -> Answer:
    """GET /v1/responses/{id}."""
    return json_response(_kept(service, request, request.params["id"], "id").response)


async def delete(service: Service, request: Request) -> Answer:
    """DELETE /v1/responses/{id}."""
    response_id = request.params["id"]
    _kept(service, request, response_id, "id")
    service.responses.remove(response_id, request.client)
    return json_response({"id": response_id, "object": "response", "deleted": True})


class _Shape:
    """The response object, and the events that build it."""

    def __init__(
        self,
        body: ResponsesBody,
        sampling: dict[str, Any],
        model: str,
        plan: ToolPlan | None,
        keep: Callable[[dict[str, Any], dict[str, Any]], None],
    ) -> None:
        self._plan = plan
        self._keep = keep
        self._number = -1
        self._head: dict[str, Any] = {
            "id": f"resp_{uuid.uuid4().hex}", "object": "response", "created_at": int(time.time()), "error": None,
            "incomplete_details": None, "instructions": body.instructions, "model": model,
            "max_output_tokens": body.max_output_tokens, "metadata": body.metadata or {}, "parallel_tool_calls": True,
            "previous_response_id": body.previous_response_id, "reasoning": {"effort": None, "summary": None},
            "store": body.store is not False, "temperature": sampling.get("temperature", 1.0),
            "text": body.text or {"format": {"type": "text"}}, "tool_choice": body.tool_choice or "auto",
            "tools": body.tools or [], "top_p": sampling.get("top_p", 1.0),
            "truncation": "disabled", "user": body.user, "background": bool(body.background),
        }  # fmt: skip

    def told(self, status: str, **fields: Any) -> dict[str, Any]:
        """The response while it has no output."""
        return {**self._head, "status": status, "output": [], "usage": None, **fields}

    def give_up(self, status: str, error: BaseException | None) -> None:
        """Keeps the response that will have no output."""
        failure = _failure(error) if error is not None else None
        self._keep(self.told(status, error=failure), {"role": "assistant", "content": ""})

    def _finished(self, output: list[dict[str, Any]], finish: Finish | None, tally: Tally) -> dict[str, Any]:
        cut = finish is not None and finish.type == "length"
        aborted = finish is not None and finish.type == "abort"
        usage = {
            "input_tokens": tally.prompt_len,
            "input_tokens_details": {"cached_tokens": tally.cached_len},
            "output_tokens": tally.completion_len,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": tally.prompt_len + tally.completion_len,
        }
        told = {
            **self._head,
            "status": "incomplete" if cut else "cancelled" if aborted else "completed",
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "output": output,
            "usage": usage,
        }
        self._keep(told, _as_message(output))
        return told

    async def whole(self, chunks: AsyncIterator[GenerateChunk]) -> Answer:
        tally = Tally()
        (generation,), _ = await gather(chunks, 1, tally)
        text, calls = read("".join(generation.text), self._plan)
        output = [_message_item(text)] if text or not calls else []
        for call in calls:
            output.append(_call_item(call_object(call)["id"], call.name, call.arguments))
        return json_response(self._finished(output, generation.finish, tally))

    def _event(self, kind: str, **fields: Any) -> bytes:
        self._number += 1
        told = _encode({"type": kind, "sequence_number": self._number, **fields})
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), told)

    def failed(self, error: BaseException) -> bytes:
        """The event of an engine that failed on the way."""
        return self._event("response.failed", response=self.told("failed", error=_failure(error)))

    async def stream(self, chunks: AsyncGenerator[GenerateChunk, None]) -> AsyncIterator[bytes]:
        tally = Tally()
        tools = ToolStream(self._plan) if self._plan is not None else None
        items = _Items(self._event)
        begun = False
        async with contextlib.aclosing(chunks):
            async for chunk in chunks:
                tally.take(chunk)
                if not begun:
                    begun = True
                    opening = self.told("in_progress")
                    yield self._event("response.created", response=opening)
                    yield self._event("response.in_progress", response=opening)
                deltas: list[dict[str, Any]] = [{"content": chunk.text}] if chunk.text else []
                if tools is not None:
                    deltas = tools.push(chunk.text) + (tools.finish() if chunk.finish is not None else [])
                for delta in deltas:
                    for frame in items.take(delta):
                        yield frame
                if chunk.finish is not None:
                    for frame in items.finish():
                        yield frame
                    response = self._finished(items.output, chunk.finish, tally)
                    kind = "incomplete" if response["status"] == "incomplete" else "completed"
                    yield self._event(f"response.{kind}", response=response)


class _Items:
    """Output items of a streamed response, one after the other."""

    def __init__(self, event: Callable[..., bytes]) -> None:
        self._event = event
        self.output: list[dict[str, Any]] = []
        self._open: dict[str, Any] | None = None

    def take(self, delta: dict[str, Any]) -> list[bytes]:
        frames: list[bytes] = []
        if "content" in delta:
            if self._open is None or self._open["type"] != "message":
                frames += self._close()
                self._open = _message_item("", status="in_progress")
                frames.append(self._added({**self._open, "content": []}))
                frames.append(self._event("response.content_part.added", **self._place(), part=_part("")))
            part = self._open["content"][0]
            part["text"] += delta["content"]
            frames.append(
                self._event("response.output_text.delta", **self._place(), delta=delta["content"], logprobs=[])
            )
            return frames
        for call in delta["tool_calls"]:
            function = call["function"]
            if "id" in call:
                frames += self._close()
                self._open = _call_item(call["id"], function["name"], "", status="in_progress")
                frames.append(self._added(self._open))
            assert self._open is not None
            arguments = function.get("arguments", "")
            if arguments:
                self._open["arguments"] += arguments
                frames.append(
                    self._event(
                        "response.function_call_arguments.delta", item_id=self._open["id"],
                        output_index=len(self.output), delta=arguments,
                    )
                )  # fmt: skip
        return frames

    def finish(self) -> list[bytes]:
        """Closes the last item; an answer without any has an empty message."""
        frames = self.take({"content": ""}) if self._open is None and not self.output else []
        return frames + self._close()

    def _added(self, item: dict[str, Any]) -> bytes:
        return self._event("response.output_item.added", output_index=len(self.output), item=item)

    def _place(self) -> dict[str, Any]:
        assert self._open is not None
        return {"item_id": self._open["id"], "output_index": len(self.output), "content_index": 0}

    def _close(self) -> list[bytes]:
        item = self._open
        if item is None:
            return []
        frames: list[bytes] = []
        item["status"] = "completed"
        if item["type"] == "message":
            part = item["content"][0]
            frames.append(self._event("response.output_text.done", **self._place(), text=part["text"], logprobs=[]))
            frames.append(self._event("response.content_part.done", **self._place(), part=part))
        else:
            frames.append(
                self._event(
                    "response.function_call_arguments.done", item_id=item["id"], output_index=len(self.output),
                    name=item["name"], arguments=item["arguments"],
                )
            )  # fmt: skip
        frames.append(self._event("response.output_item.done", output_index=len(self.output), item=item))
        self.output.append(item)
        self._open = None
        return frames


def _failure(error: BaseException) -> dict[str, Any]:
    told = error_object(error)
    return {"code": told["code"] or "server_error", "message": told["message"]}


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _message_item(text: str, status: str = "completed") -> dict[str, Any]:
    told = {"type": "message", "id": f"msg_{uuid.uuid4().hex}", "status": status, "role": "assistant"}
    return {**told, "content": [_part(text)]}


def _call_item(call_id: str, name: str, arguments: str, status: str = "completed") -> dict[str, Any]:
    told = {"type": "function_call", "id": f"fc_{uuid.uuid4().hex}", "call_id": call_id, "status": status}
    return {**told, "name": name, "arguments": arguments}


def _as_message(output: list[dict[str, Any]]) -> dict[str, Any]:
    """The answer as a chat message, for the requests that go on from it."""
    text = "".join(item["content"][0]["text"] for item in output if item["type"] == "message")
    message: dict[str, Any] = {"role": "assistant", "content": text}
    calls = [
        {"id": i["call_id"], "type": "function", "function": {"name": i["name"], "arguments": _object(i["arguments"])}}
        for i in output
        if i["type"] == "function_call"
    ]
    return {**message, "tool_calls": calls} if calls else message


def _object(arguments: str) -> Any:
    try:
        return msgspec.json.decode(arguments)
    except msgspec.MsgspecError:
        return arguments


def routes() -> list[Route]:
    return [
        Route(path="/v1/responses", handler=responses, body=ResponsesBody, summary="Responses"),
        Route(path="/v1/responses/{id}/cancel", handler=cancel, summary="End an answer in the background"),
        Route(
            path="/v1/responses/{id}/input_items", handler=input_items, methods=("GET",), summary="What was said before"
        ),
        Route(path="/v1/responses/{id}", handler=retrieve, methods=("GET",), summary="A kept response"),
        Route(path="/v1/responses/{id}", handler=delete, methods=("DELETE",), summary="Forget a response"),
    ]
