"""OpenAI's Responses API: POST /v1/responses, and the answers that it keeps."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

from ...constrained.foreign_fields import unread_in
from ...errors import ModelNotFound, RequestError
from ..generate_request import GenerateChunk
from .conversation import converse
from .http import Answer, EventStream, Request, json_response
from .responses_input import ResponsesBody, constraint_of, conversation, tools_of
from .responses_shape import Shape
from .responses_store import Kept
from .route import Route
from .service import Service

_NAMES = {"max_new_tokens": "max_output_tokens"}


async def responses(service: Service, request: Request) -> Answer:
    """One answer, whole or as events."""
    body = await request.struct(ResponsesBody)
    request.unread.extend(unread_in(body.text or {}, {"format", "verbosity"}, "text"))
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
    plan = tools_of(body, service.tool_form)
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

    shape = Shape(body, sampling, body.model or service.model_name, plan, keep)
    if body.stream:
        return EventStream(shape.stream(chunks), on_error=shape.failed)
    if body.background:
        begun = shape.told("in_progress")
        service.responses.put(Kept(begun, said, request.client, num_bytes))
        service.responses.run(begun["id"], _in_background(service, shape, chunks))
        return json_response(begun)
    return await request.guard(shape.whole(chunks))


async def _in_background(service: Service, shape: Shape, chunks: AsyncGenerator[GenerateChunk, None]) -> None:
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
