"""The prefix cache as an API: what a prompt would cost, the tree itself, pins with a time, and KV events."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

from ...errors import RequestError
from ..generate_request import GenerateRequest, PromptPart, Salt
from ..native_api import MAX_KEEP_S
from ..sampling_params import SamplingParams
from .http import Answer, HttpError, Request, json_response
from .route import Route
from .service import Service

_PIN = "pin-"


class LookupBody(msgspec.Struct):
    """A prompt."""

    text: str | None = None
    input_ids: list[int] | None = None
    messages: list[dict[str, Any]] | None = None
    extra_key: Salt | None = None
    cache_salt: Salt | None = None
    lora_path: str | None = None
    """The adapter whose prefixes are meant."""


class PinBody(LookupBody):
    """A prompt whose K and V should stay."""

    ttl: float = 300.0
    """Seconds."""


def _prompt(service: Service, body: LookupBody) -> list[PromptPart]:
    given = [name for name in ("text", "input_ids", "messages") if getattr(body, name) is not None]
    if len(given) != 1:
        raise RequestError("give one of text, input_ids or messages", param="text")
    if body.input_ids is not None:
        return [body.input_ids]
    if body.text is not None:
        return [body.text]
    template = service.front.template
    if template is None:
        raise RequestError("this model has no chat template; give text", param="messages")
    return [template.render(body.messages or [], add_generation_prompt=False)]


async def lookup(service: Service, request: Request) -> Answer:
    """POST /v1/cache/lookup: how much of a prompt is cached now, and what the rest would take."""
    front = service.front
    body = await request.struct(LookupBody)
    ids = await front.tokenize(_prompt(service, body))
    namespace = service.tenants.namespace(request.client, body.extra_key or body.cache_salt or "")
    await front.adapters.check(body.lora_path or "")
    asked = {"token_ids": ids, "namespace": namespace, "adapter": body.lora_path or ""}
    return json_response(await front.ask("cache_lookup", asked))


async def pin(service: Service, request: Request) -> Answer:
    """POST /v1/cache/pin: computes a prompt, and keeps its K and V for `ttl` seconds before all that is not pinned."""
    front = service.front
    body = await request.struct(PinBody)
    if not 0 < body.ttl <= MAX_KEEP_S:
        raise RequestError(f"ttl must be in (0, {MAX_KEEP_S:.0f}] seconds, found {body.ttl:g}", param="ttl")
    name = f"{_PIN}{uuid.uuid4().hex}"
    call = GenerateRequest(
        prompt=_prompt(service, body),
        sampling=SamplingParams(max_new_tokens=0, temperature=0.0),
        client=request.client,
        namespace=body.extra_key or body.cache_salt or "",
        adapter=body.lora_path or "",
        timeout_s=service.timeout(None),
        keep=name,
        keep_s=body.ttl,
        pin=True,
    )
    told: dict[str, Any] = {"id": name, "ttl": body.ttl}

    async def compute() -> None:
        async for chunk in front.generate(call):
            told.update(pinned_tokens=chunk.prompt_len, cached_tokens=chunk.cached_len)

    await request.guard(compute())
    return json_response(told)


async def unpin(service: Service, request: Request) -> Answer:
    """DELETE /v1/cache/pin/{id}: it is ordinary cache again."""
    name = request.params["id"]
    if not name.startswith(_PIN):
        raise HttpError(404, f"there is no pin {name[:100]!r}", code="not_found")
    await service.front.release([name])
    return json_response({"id": name, "deleted": True})


async def tree(service: Service, request: Request) -> Answer:
    """GET /v1/cache/tree?max_nodes=256."""
    return json_response(await service.front.ask("cache_tree", {"max_nodes": _number(request, "max_nodes", 256)}))


async def kv_events(service: Service, request: Request) -> Answer:
    """GET /v1/kv_events?since=N: batches from number N on; without N, or too late, all blocks as they are now."""
    since = _number(request, "since", -1)
    limit = _number(request, "max_batches", 256)
    return json_response(await service.front.ask("kv_events", {"since": since, "max_batches": limit}))


def _number(request: Request, name: str, default: int) -> int:
    given = request.query.get(name)
    if given is None:
        return default
    if not given.isdecimal() or len(given) > 18:
        raise RequestError(f"{name} must be a number that is not negative", param=name)
    return int(given)


def routes() -> list[Route]:
    return [
        Route(path="/v1/cache/lookup", handler=lookup, body=LookupBody, summary="What is cached of a prompt"),
        Route(path="/v1/cache/pin", handler=pin, body=PinBody, summary="Keep a prompt's K and V"),
        Route(path="/v1/cache/pin/{id}", handler=unpin, methods=("DELETE",), summary="Drop a pin"),
        Route(path="/v1/cache/tree", handler=tree, methods=("GET",), is_admin=True, summary="The radix tree"),
        Route(path="/v1/kv_events", handler=kv_events, methods=("GET",), is_admin=True, summary="KV events"),
    ]
