"""Programs over HTTP: a request graph is one request, sent whole or by name. JSON only: no code crosses the wire."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any
from weakref import WeakKeyDictionary

import msgspec

from ...errors import ModelNotFound, RequestError
from ...lang.graph import ProgramGraph
from ...lang.run_options import SAMPLING_OPTIONS
from ..programs.front_backend import FrontBackend
from ..programs.host import ProgramHost
from ..programs.published import published_of
from ..programs.request import ProgramRequest, RunBody
from .http import Answer, EventStream, Request, convert, json_response
from .route import Route
from .service import Service
from .streaming import DONE, event

_encode = msgspec.json.Encoder(enc_hook=str).encode
_hosts: WeakKeyDictionary[Service, ProgramHost] = WeakKeyDictionary()


class CallOptions(msgspec.Struct):
    """What POST /programs/NAME takes beside the program's own arguments, where those have no such name."""

    sampling: dict[str, Any] = {}
    stream: bool = False
    timeout: float | None = None


_OPTIONS = frozenset(CallOptions.__struct_fields__)


class RegisterBody(msgspec.Struct):
    """A graph to keep."""

    name: str
    graph: dict[str, Any]


def host_of(service: Service) -> ProgramHost:
    """The programs of a server."""
    return _hosts.setdefault(service, ProgramHost())


async def run(service: Service, request: Request) -> Answer:
    """POST /v1/programs/run."""
    assert service.front is not None
    body = await request.struct(RunBody)
    service.check_fields(request)
    prepared = host_of(service).prepare(body)
    prepared.timeout_s = service.timeout(body.timeout)
    return await _answer(service, request, prepared)


async def call(service: Service, request: Request) -> Answer:
    """POST /programs/{name}: a published program; the body holds its arguments, and CallOptions."""
    assert service.front is not None
    program = published_of(service.published, request.params["name"])
    data = await request.json_object()
    free = _OPTIONS - program.schema()["properties"].keys()
    options = convert({name: value for name, value in data.items() if name in free}, CallOptions)
    given = {name: value for name, value in data.items() if name not in free}
    timeout_s = service.timeout(options.timeout)
    unknown = sorted(set(options.sampling) - set(SAMPLING_OPTIONS))
    if unknown:
        raise RequestError(f"sampling has no field {unknown[0]!r}", param=f"sampling.{unknown[0]}")
    prepared = host_of(service).prepare_published(
        program, program.arguments(given), options.sampling, timeout=timeout_s, stream=options.stream
    )
    return await _answer(service, request, prepared)


def backend_of(service: Service, request: Request, prepared: ProgramRequest) -> FrontBackend:
    """What the calls of a run go to."""
    timeout_s = prepared.timeout_s if prepared.timeout_s is not None else service.config.request_timeout
    return FrontBackend(service.front, request.client, timeout_s, host_of(service))


async def whole_run(service: Service, prepared: ProgramRequest, backend: FrontBackend) -> dict[str, Any]:
    """The result of a run, when it has ended."""
    async with contextlib.aclosing(host_of(service).run(prepared, backend)) as events:
        done = [one async for one in events if one["event"] == "done"]
    return {name: value for name, value in done[0].items() if name != "event"}


async def _answer(service: Service, request: Request, prepared: ProgramRequest) -> Answer:
    backend = backend_of(service, request, prepared)

    async def frames() -> AsyncIterator[bytes]:
        async with contextlib.aclosing(host_of(service).run(prepared, backend)) as events:
            async for one in events:
                yield event(_encode(one))
        yield DONE

    if prepared.is_streamed:
        return EventStream(frames())
    return json_response(await request.guard(whole_run(service, prepared, backend)))


async def register(service: Service, request: Request) -> Answer:
    """POST /v1/programs: keeps a graph under a name until the server ends."""
    body = await request.struct(RegisterBody)
    host_of(service).register(body.name, body.graph)
    return json_response(_told(service, body.name))


async def list_programs(service: Service, request: Request) -> Answer:
    """GET /v1/programs: published ones, then registered ones."""
    own = [program.told() for program in service.published.values()]
    return json_response({"object": "list", "data": [*own, *(_told(service, n) for n in host_of(service).programs)]})


async def show(service: Service, request: Request) -> Answer:
    """GET /v1/programs/{name}: also with its graph."""
    own = service.published.get(request.params["name"])
    if own is not None:
        data = None if own.graph is None else msgspec.json.decode(own.graph.to_json())
        return json_response({**own.told(), "graph": data})
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
        Route(path="/programs/{name}", handler=call, body=dict, summary="Run a published program"),
        Route(path="/v1/programs/{name}", handler=call, body=dict, summary="Run a published program"),
        Route(path="/v1/programs/{run_id}/cancel", handler=cancel, summary="End a run"),
    ]
