"""Programs over HTTP: a request graph is one request, sent whole or by name. JSON only: no code crosses the wire."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any
from weakref import WeakKeyDictionary

import msgspec

from ...errors import ModelNotFound, RequestError
from ...lang.graph import ProgramGraph
from ..programs.front_backend import FrontBackend
from ..programs.host import ProgramHost
from ..programs.request import RunBody
from .http import Answer, EventStream, Request, json_response
from .route import Route
from .service import Service
from .streaming import DONE, event

_encode = msgspec.json.Encoder().encode
_hosts: WeakKeyDictionary[Service, ProgramHost] = WeakKeyDictionary()


class RegisterBody(msgspec.Struct):
    """A graph to keep."""

    name: str
    graph: dict[str, Any]


def host_of(service: Service) -> ProgramHost:
    """The programs of a server."""
    return _hosts.setdefault(service, ProgramHost())


async def run(service: Service, request: Request) -> Answer:
    """POST /v1/programs/run."""
    front, host = service.front, host_of(service)
    body = await request.struct(RunBody)
    service.check_fields(request)
    prepared = host.prepare(body)
    prepared.timeout_s = service.timeout(body.timeout)
    backend = FrontBackend(front, request.client, prepared.timeout_s)

    async def frames() -> AsyncIterator[bytes]:
        async with contextlib.aclosing(host.run(prepared, backend)) as events:
            async for one in events:
                yield event(_encode(one))
        yield DONE

    async def whole() -> dict[str, Any]:
        async with contextlib.aclosing(host.run(prepared, backend)) as events:
            done = [one async for one in events if one["event"] == "done"]
        return {name: value for name, value in done[0].items() if name != "event"}

    return EventStream(frames()) if prepared.is_streamed else json_response(await request.guard(whole()))


async def register(service: Service, request: Request) -> Answer:
    """POST /v1/programs: keeps a graph under a name until the server ends."""
    body = await request.struct(RegisterBody)
    host_of(service).register(body.name, body.graph)
    return json_response(_told(service, body.name))


async def list_programs(service: Service, request: Request) -> Answer:
    """GET /v1/programs."""
    return json_response({"object": "list", "data": [_told(service, name) for name in host_of(service).programs]})


async def show(service: Service, request: Request) -> Answer:
    """GET /v1/programs/{name}: also with its graph."""
    graph = _graph(service, request.params["name"])
    told = _told(service, request.params["name"])
    return json_response({**told, "graph": msgspec.json.decode(graph.to_json())})


async def cancel(service: Service, request: Request) -> Answer:
    """POST /v1/programs/{run_id}/cancel."""
    run_id = request.params["run_id"]
    if not host_of(service).cancel(run_id):
        raise RequestError(f"no run {run_id!r} is under way", param="run_id", code="run_not_found")
    return json_response({"run_id": run_id, "cancelled": True})


def _graph(service: Service, name: str) -> ProgramGraph:
    graph = host_of(service).programs.get(name)
    if graph is None:
        raise ModelNotFound(f"no program {name!r} is registered here", param="name", code="program_not_found")
    return graph


def _told(service: Service, name: str) -> dict[str, Any]:
    graph = _graph(service, name)
    return {
        "object": "program",
        "name": name,
        "created": host_of(service).created[name],
        "inputs": graph.inputs,
        "outputs": graph.outputs,
        "digest": graph.digest(),
        "stats": graph.stats(),
    }


def routes() -> list[Route]:
    return [
        Route(path="/v1/programs/run", handler=run, body=RunBody, summary="Run a program's graph"),
        Route(path="/v1/programs", handler=list_programs, methods=("GET",), summary="The programs kept here"),
        Route(path="/v1/programs", handler=register, body=RegisterBody, summary="Keep a program by name"),
        Route(path="/v1/programs/{name}", handler=show, methods=("GET",), summary="One program"),
        Route(path="/v1/programs/{run_id}/cancel", handler=cancel, summary="End a run"),
    ]
