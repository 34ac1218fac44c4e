"""Ollama's routes about models: tags, show, ps, version."""

from __future__ import annotations

import datetime
from typing import Any

import msgspec

from ... import __version__
from ...errors import RequestError
from ..store.catalog import list_models
from .http import Answer, Request, json_response
from .route import Route
from .service import Service


class OllamaShowBody(msgspec.Struct):
    model: str | None = None
    name: str | None = None
    verbose: bool | None = None


def _card(service: Service) -> dict[str, Any]:
    """The served model as Ollama lists one; size and digest where it lies in the store."""
    stored = {m.name: m for m in list_models()}.get(service.engine_config.model_path)
    modified = stored.modified if stored is not None else service.created
    told = datetime.datetime.fromtimestamp(modified, datetime.timezone.utc).isoformat().replace("+00:00", "Z")
    return {
        "name": service.model_name,
        "model": service.model_name,
        "modified_at": told,
        "size": stored.size if stored is not None else 0,
        "digest": (stored.sha256 or "") if stored is not None else "",
        "details": _details(service),
    }


def _details(service: Service) -> dict[str, Any]:
    family = str(service.info.get("model_type", ""))
    return {
        "parent_model": "", "format": "gguf", "family": family, "families": [family] if family else [],
        "parameter_size": "", "quantization_level": "",
    }  # fmt: skip


async def tags(service: Service, request: Request) -> Answer:
    """GET /api/tags: the model that this server runs."""
    assert service.front is not None
    return json_response({"models": [_card(service)]})


async def show(service: Service, request: Request) -> Answer:
    """POST /api/show."""
    info = service.front.info
    body = await request.struct(OllamaShowBody)
    name = body.model or body.name
    if not name:
        raise RequestError("model is required", param="model")
    service.check_model(name)
    family = info.get("model_type", "")
    return json_response(
        {
            "modelfile": f"FROM {service.engine_config.model_path}\n",
            "parameters": "",
            "template": info.get("chat_template") or "",
            "details": _details(service),
            "model_info": {
                "general.architecture": family,
                f"{family}.context_length": service.max_context,
                f"{family}.vocab_size": service.vocab_size,
            },
            "capabilities": ["completion", "tools", "embedding"],
            "modified_at": _card(service)["modified_at"],
        }
    )


async def ps(service: Service, request: Request) -> Answer:
    """GET /api/ps: what is loaded; it stays."""
    assert service.front is not None
    card = _card(service)
    del card["modified_at"]
    forever = "9999-12-31T23:59:59Z"
    return json_response(
        {"models": [{**card, "expires_at": forever, "size_vram": 0, "context_length": service.max_context}]}
    )


async def version(service: Service, request: Request) -> Answer:
    """GET /api/version."""
    return json_response({"version": __version__})


def routes() -> list[Route]:
    return [
        Route(path="/api/tags", handler=tags, methods=("GET",), style="ollama", summary="Models (Ollama)"),
        Route(path="/api/show", handler=show, body=OllamaShowBody, style="ollama", summary="One model (Ollama)"),
        Route(path="/api/ps", handler=ps, methods=("GET",), style="ollama", summary="Loaded models (Ollama)"),
        Route(path="/api/version", handler=version, methods=("GET",), style="ollama", is_open=True, summary="Version"),
    ]
