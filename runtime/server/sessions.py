"""SGLang's sessions: /open_session and /close_session; requests of /generate go on in one by `session_params`."""

from __future__ import annotations

import msgspec

from .http import Answer, Request, Response, json_response
from .route import Route
from .service import Service


class OpenBody(msgspec.Struct):
    """A conversation to come."""

    capacity_of_str_len: int
    """Tokens of its longest path; 0: as many as the model's context holds."""
    session_id: str | None = None
    timeout: float | None = None
    """Seconds without a request after which it is closed; default: 1800."""


class CloseBody(msgspec.Struct):
    """A conversation that is over."""

    session_id: str


async def open_session(service: Service, request: Request) -> Answer:
    """POST /open_session: its id."""
    front = service.front
    body = await request.struct(OpenBody)
    opened = await front.sessions.open(
        body.capacity_of_str_len, body.session_id, timeout_s=body.timeout, client=request.client
    )
    return json_response(opened)


async def close_session(service: Service, request: Request) -> Answer:
    """POST /close_session: aborts what runs of it, releases what it holds."""
    front = service.front
    body = await request.struct(CloseBody)
    await front.sessions.close(body.session_id, client=request.client)
    return Response(b"", content_type="text/plain; charset=utf-8")


def routes() -> list[Route]:
    return [
        Route(path="/open_session", handler=open_session, body=OpenBody, summary="Open a session"),
        Route(path="/close_session", handler=close_session, body=CloseBody, summary="Close a session"),
    ]
