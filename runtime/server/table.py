"""All routes of the server."""

from __future__ import annotations

from . import (
    anthropic,
    chat,
    completions,
    decisions,
    embeddings,
    grammar,
    health,
    models,
    native,
    ollama,
    ollama_models,
    openapi,
    programs,
    responses,
    score,
    systemone,
    tokens,
)
from . import parse_function_call as function_calls
from .app import App
from .route import Route
from .service import Service

_OPENAI = (chat, completions, responses, embeddings, score, systemone, decisions, models)
_OTHERS = (native, programs, tokens, anthropic, function_calls, grammar, ollama, ollama_models, health)


def all_routes() -> list[Route]:
    """In the order of /openapi.json."""
    routes = [route for module in (*_OPENAI, *_OTHERS) for route in module.routes()]
    return [*routes, openapi.route_of(routes)]


def make_app(service: Service) -> App:
    """The ASGI application of one server."""
    return App(service, all_routes())
