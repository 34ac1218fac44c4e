"""Whether this server works, what it is, and its numbers: /health, /ready, /metrics, /server_info and their kin."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from ... import __version__
from ...errors import OverloadedError
from ..generate_request import GenerateRequest
from ..metrics import CONTENT_TYPE
from ..metrics_compat import renamed
from ..sampling_params import SamplingParams
from .http import Answer, Request, Response, json_response
from .route import Route, open_route
from .service import Service

_SECRETS = ("api_key", "admin_api_key", "api_key_file", "api_keys")


def _status(reason: str | None) -> Response:
    if reason is None:
        return json_response({"status": "ok"})
    return json_response({"status": "unavailable", "reason": reason}, status=503, headers={"retry-after": "1"})


async def health(service: Service, request: Request) -> Answer:
    """GET /health: reads a heartbeat, never asks the engine."""
    return _status(service.not_healthy())


async def ready(service: Service, request: Request) -> Answer:
    """GET /ready: whether new requests are taken."""
    return _status(service.not_ready())


async def health_generate(service: Service, request: Request) -> Answer:
    """GET /health_generate: one token through the engine."""
    if (reason := service.not_ready()) is not None:
        return _status(reason)
    probe = GenerateRequest(
        prompt=["a"], sampling=SamplingParams(max_new_tokens=1, temperature=0.0), timeout_s=10.0, priority=1000
    )

    async def one_token() -> str | None:
        async for chunk in service.front.generate(probe):
            if chunk.finish is not None and chunk.finish.type == "abort":
                return "the engine did not produce a token in 10 s"
        return None

    return _status(await request.guard(one_token()))


async def model_info(service: Service, request: Request) -> Answer:
    """GET /get_model_info."""
    return json_response(service.front.info)


async def server_info(service: Service, request: Request) -> Answer:
    """GET /get_server_info: the configuration without keys, the model, and the scheduler's snapshot."""
    front = service.front
    told: dict[str, Any] = {
        **dataclasses.asdict(service.engine_config),
        **{k: v for k, v in dataclasses.asdict(service.config).items() if k not in _SECRETS},
        **front.info,
        "version": __version__,
        "served_model_name": service.model_name,
        "status": service.not_ready() or "ready",
        "uptime_s": round(time.monotonic() - service.started, 3),
        "internal_states": [await service.last_stats()],
    }
    return json_response(told)


async def loads(service: Service, request: Request) -> Answer:
    """GET /v1/loads: what a load balancer asks."""
    stats = await service.stats()
    if not stats:
        raise OverloadedError(f"no load report: {service.not_ready() or 'the engine is busy'}")
    running, queued = stats.get("num_running_reqs", 0), stats.get("num_queue_reqs", 0)
    load = {
        "dp_rank": 0,
        "num_running_reqs": running,
        "num_waiting_reqs": queued,
        "num_total_reqs": running + queued,
        "num_used_tokens": stats.get("num_used_tokens", 0),
        "max_total_num_tokens": stats.get("max_total_num_tokens", 0),
        "token_usage": stats.get("token_usage", 0.0),
        "gen_throughput": stats.get("gen_throughput", 0.0),
        "cache_hit_rate": stats.get("cache_hit_rate", 0.0),
        "max_running_requests": service.engine_config.max_running_requests,
    }
    return json_response({"timestamp": time.time(), "dp_rank_count": 1, "loads": [load]})


async def metrics(service: Service, request: Request) -> Answer:
    """GET /metrics."""
    service.metrics.engine_last_step_age.set(service.engine_age_s())
    told = service.metrics.render(await service.stats())
    if service.config.metrics_compat:
        told = renamed(told.decode(), service.config.metrics_compat).encode()
    return Response(told, content_type=CONTENT_TYPE)


async def ping(service: Service, request: Request) -> Answer:
    """GET /ping (SageMaker)."""
    return _status(service.not_healthy())


async def version(service: Service, request: Request) -> Answer:
    """GET /version."""
    return json_response({"version": __version__})


def routes() -> list[Route]:
    return [
        open_route("/health", health, "Process and engine work"),
        open_route("/v1/health", health, "Process and engine work"),
        open_route("/health_generate", health_generate, "One token through the engine"),
        open_route("/ready", ready, "New requests are taken"),
        open_route("/ping", ping, "SageMaker's health check"),
        open_route("/metrics", metrics, "Prometheus text"),
        *(
            Route(path=path, handler=model_info, methods=("GET",), summary="The model")
            for path in ("/get_model_info", "/model_info")
        ),
        *(
            Route(path=path, handler=server_info, methods=("GET",), summary="Configuration and state")
            for path in ("/get_server_info", "/server_info", "/get_server_args")
        ),
        Route(path="/v1/loads", handler=loads, methods=("GET",), summary="Load of this server"),
        Route(path="/get_load", handler=loads, methods=("GET",), summary="Load of this server"),
        Route(path="/version", handler=version, methods=("GET",), summary="radixlang's version"),
    ]
