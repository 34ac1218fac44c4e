"""GET /v1/models, and adapters."""

from __future__ import annotations

from typing import Any

import msgspec

from ...errors import RequestError
from .http import Answer, Request, json_response
from .program_models import cards
from .route import Route
from .service import Service


class LoadAdapterBody(msgspec.Struct):
    """SGLang's and vLLM's spelling."""

    lora_name: str
    """What requests call it."""
    lora_path: str | None = None
    """Its folder on the server's machine, as peft saves it."""


class UnloadAdapterBody(msgspec.Struct):
    """SGLang's and vLLM's spelling."""

    lora_name: str


def card(service: Service) -> dict[str, Any]:
    """OpenAI's model object; max_model_len as in SGLang and vLLM."""
    return {
        "id": service.model_name,
        "object": "model",
        "created": service.created,
        "owned_by": "radixlang",
        "root": service.engine_config.model_path,
        "parent": None,
        "max_model_len": service.max_context,
    }


async def models(service: Service, request: Request) -> Answer:
    """GET /v1/models."""
    assert service.front is not None
    adapters = [_adapter_card(service, name) for name in service.adapters]
    return json_response({"object": "list", "data": [card(service), *adapters, *cards(service)]})


async def model(service: Service, request: Request) -> Answer:
    """GET /v1/models/{id}."""
    assert service.front is not None
    own = next((found for found in cards(service) if found["id"] == request.params["id"]), None)
    if own is not None:
        return json_response(own)
    adapter = service.adapter_of(request.params["id"])
    found = _adapter_card(service, adapter) if adapter else card(service)
    return json_response({**found, "id": request.params["id"]})


def _adapter_card(service: Service, name: str) -> dict[str, Any]:
    """As SGLang and vLLM list an adapter."""
    return {**card(service), "id": name, "root": service.adapters[name], "parent": service.model_name}


async def load_adapter(service: Service, request: Request) -> Answer:
    """POST /load_lora_adapter: from now on requests may name it."""
    body = await request.struct(LoadAdapterBody)
    if not body.lora_path:
        raise RequestError("give the adapter's folder", param="lora_path")
    await service.front.adapters.load(body.lora_name, body.lora_path)
    return _loaded(service)


async def unload_adapter(service: Service, request: Request) -> Answer:
    """POST /unload_lora_adapter; refused while requests use it."""
    body = await request.struct(UnloadAdapterBody)
    await service.front.adapters.unload(body.lora_name)
    return _loaded(service)


def _loaded(service: Service) -> Answer:
    return json_response({"success": True, "error_message": "", "loaded_adapters": service.adapters})


def routes() -> list[Route]:
    return [
        Route(path="/v1/models", handler=models, methods=("GET",), summary="Models"),
        Route(path="/v1/models/{id:path}", handler=model, methods=("GET",), summary="One model"),
        *(
            Route(path=f"{prefix}/{verb}_lora_adapter", handler=handler, body=body, is_admin=True, summary=told)
            for prefix in ("", "/v1")
            for verb, handler, body, told in (
                ("load", load_adapter, LoadAdapterBody, "Load an adapter"),
                ("unload", unload_adapter, UnloadAdapterBody, "Unload an adapter"),
            )
        ),
    ]
