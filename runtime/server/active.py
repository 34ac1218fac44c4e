"""The requests that are being answered, as objects: GET /v1/requests, DELETE /v1/requests/{id}."""

from __future__ import annotations

import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from .http import Answer, HttpError, Request, json_response
from .route import Route
from .service import Service


@dataclass(slots=True, eq=False)
class Active:
    """One of them."""

    id: str
    """As in the answer's x-request-id."""
    route: str
    started_s: float = field(default_factory=time.monotonic)
    rids: set[str] = field(default_factory=set)
    """Of its generations that run or wait in the engine."""


current: ContextVar[Active | None] = ContextVar("radixlang_request", default=None)
"""That on whose behalf a task runs: tasks that it starts inherit it."""


async def requests(service: Service, request: Request) -> Answer:
    """GET /v1/requests: oldest first."""
    now = time.monotonic()
    told: list[dict[str, Any]] = [
        {
            "id": one.id, "object": "request", "route": one.route, "age_s": round(now - one.started_s, 3),
            "rids": sorted(one.rids),
        }
        for one in sorted(service.active, key=lambda one: one.started_s)
        if one is not current.get()
    ]  # fmt: skip
    return json_response({"object": "list", "data": told})


async def end(service: Service, request: Request) -> Answer:
    """DELETE /v1/requests/{id}: its generations end with the reason "abort", and its client gets what there is."""
    request_id = request.params["id"]
    found = [one for one in service.active if one.id == request_id and one is not current.get()]
    if not found:
        raise HttpError(404, f"no request {request_id[:128]!r} is being answered", code="request_not_found")
    for rid in sorted(rid for one in found for rid in one.rids):
        await service.front.abort(rid)
    return json_response({"id": request_id, "object": "request", "deleted": True})


def routes() -> list[Route]:
    return [
        Route(path="/v1/requests", handler=requests, methods=("GET",), is_admin=True, summary="Requests under way"),
        Route(path="/v1/requests/{id}", handler=end, methods=("DELETE",), is_admin=True, summary="End a request"),
    ]
