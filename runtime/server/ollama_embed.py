"""Ollama's /api/embed, and /api/embeddings, its older form."""

from __future__ import annotations

import time

import msgspec

from ...errors import RequestError
from .. import native_run
from .embeddings import unit
from .http import Answer, Request, json_response
from .native import as_list, hidden_call
from .route import Route
from .service import Service


class OllamaEmbedBody(msgspec.Struct):
    model: str | None = None
    input: str | list[str] | None = None
    prompt: str | None = None


async def embed(service: Service, request: Request) -> Answer:
    """POST /api/embed, and /api/embeddings, its older form with one prompt."""
    body = await request.struct(OllamaEmbedBody)
    adapter = service.adapter_of(body.model)
    given = body.input if body.input is not None else body.prompt
    if not given:
        raise RequestError("input must be a text or a list of texts", param="input")
    started = time.perf_counter_ns()
    call = hidden_call(service, given, None, request.client, adapter=adapter)
    answers = as_list(await request.guard(native_run.whole(service.front, call)))
    vectors = [unit(a["embedding"]) for a in answers]
    if request.path == "/api/embeddings":
        return json_response({"embedding": vectors[0]})
    count = sum(a["meta_info"]["prompt_tokens"] for a in answers)
    took = time.perf_counter_ns() - started
    told = {"model": body.model or service.model_name, "embeddings": vectors, "total_duration": took}
    return json_response({**told, "load_duration": 0, "prompt_eval_count": count})


def routes() -> list[Route]:
    return [
        Route(path=path, handler=embed, body=OllamaEmbedBody, style="ollama", summary=told)
        for path, told in (("/api/embed", "Vectors (Ollama)"), ("/api/embeddings", "One vector (Ollama)"))
    ]
