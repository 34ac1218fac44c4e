"""All routes of the server."""

from __future__ import annotations

from . import (
    chat,
    completions,
    embeddings,
    health,
    models,
    native,
    openapi,
    parse_function_call,
    score,
    systemone,
    tokens,
)
from .app import App
from .route import Route
from .service import Service


def all_routes() -> list[Route]:
    """In the order of /openapi.json."""
    routes: list[Route] = []
    for module in (
        native,
        chat,
        completions,
        embeddings,
        score,
        systemone,
        models,
        tokens,
        parse_function_call,
        health,
    ):
        routes += module.routes()
    return [*routes, openapi.route_of(routes)]


def make_app(service: Service) -> App:
    """The ASGI application of one server."""
    return App(service, all_routes())
