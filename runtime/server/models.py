"""GET /v1/models, and adapters."""

from __future__ import annotations

from typing import Any

import msgspec

from ...errors import ModelNotFound, RequestError
from .http import Answer, Request, json_response
from .program_models import cards
from .route import Route
from .service import Service


class LoadAdapterBody(msgspec.Struct):
    """SGLang's and vLLM's spelling."""

    lora_name: str
    lora_path: str | None = None


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
    return json_response({"object": "list", "data": [card(service), *cards(service)]})


async def model(service: Service, request: Request) -> Answer:
    """GET /v1/models/{id}."""
    assert service.front is not None
    own = next((found for found in cards(service) if found["id"] == request.params["id"]), None)
    if own is not None:
        return json_response(own)
    service.check_model(request.params["id"])
    return json_response({**card(service), "id": request.params["id"]})


async def load_adapter(service: Service, request: Request) -> Answer:
    """POST /load_lora_adapter. No executor runs adapters yet, so every one is refused."""
    body = await request.struct(LoadAdapterBody)
    raise RequestError(
        f"the adapter {body.lora_name!r} cannot be loaded: this executor runs no adapters", param="lora_path"
    )


async def unload_adapter(service: Service, request: Request) -> Answer:
    """POST /unload_lora_adapter."""
    body = await request.struct(LoadAdapterBody)
    error = ModelNotFound(f"no adapter {body.lora_name!r} is loaded", param="lora_name")
    error.status = 400
    raise error


def routes() -> list[Route]:
    return [
        Route(path="/v1/models", handler=models, methods=("GET",), summary="Models"),
        Route(path="/v1/models/{id:path}", handler=model, methods=("GET",), summary="One model"),
        *(
            Route(
                path=f"{prefix}/{verb}_lora_adapter", handler=handler, body=LoadAdapterBody, is_admin=True, summary=told
            )
            for prefix in ("", "/v1")
            for verb, handler, told in (
                ("load", load_adapter, "Load an adapter"),
                ("unload", unload_adapter, "Unload an adapter"),
            )
        ),
    ]
