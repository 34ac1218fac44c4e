"""All routes of the server; but for the first ones, their modules are loaded when the server has time for it."""

from __future__ import annotations

from . import health, native
from .app import App
from .route import Route
from .service import Service


def first_routes() -> list[Route]:
    """What a server answers before everything is loaded: whether it works, and the native API."""
    return [*native.routes(), *health.routes()]


def all_routes() -> list[Route]:
    """In the order of /openapi.json. Its modules take a third of a second to load."""
    from . import (
        active,
        anthropic,
        batches,
        cache,
        chat,
        completions,
        decisions,
        embeddings,
        files,
        grammar,
        hosted,
        models,
        ollama,
        ollama_embed,
        ollama_models,
        openapi,
        pages,
        programs,
        reasoning,
        rerank,
        responses,
        score,
        sessions,
        systemone,
        tokens,
    )
    from . import parse_function_call as function_calls

    openai = (chat, completions, responses, embeddings, score, rerank, systemone, decisions, models)
    others = (
        native,
        hosted,
        files,
        batches,
        active,
        sessions,
        cache,
        programs,
        tokens,
        anthropic,
        function_calls,
        reasoning,
        grammar,
        ollama,
        ollama_embed,
        ollama_models,
    )
    routes = [route for module in (*openai, *others, pages, health) for route in module.routes()]
    return [*routes, openapi.route_of(routes)]


def make_app(service: Service) -> App:
    """The ASGI application of one server."""
    return App(service, first_routes(), later=all_routes)
