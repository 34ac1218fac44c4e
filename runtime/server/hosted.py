"""What hosting platforms call: SageMaker's POST /invocations, Vertex AI's POST /vertex_generate; and what nobody here
answers, told as such.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ...errors import RequestError
from .. import native_api, native_run
from .chat import chat
from .completions import completions
from .embeddings import embeddings
from .http import Answer, HttpError, Request, json_response
from .native import as_list
from .route import Route
from .service import Service

_UNSERVED = {
    "/v1/audio/transcriptions": "no model of sound is served here",
    "/v1/audio/translations": "no model of sound is served here",
    "/v1/audio/speech": "no model of sound is served here",
    "/v1/images/generations": "no model of images is served here",
    "/v1/images/edits": "no model of images is served here",
    "/infill": "this model cannot fill in the middle; use /v1/completions",
}


class VertexBody(msgspec.Struct):
    """Vertex AI's body: each instance is one of /generate, `parameters` are fields of all."""

    instances: list[dict[str, Any]]
    parameters: dict[str, Any] | None = None


async def invocations(service: Service, request: Request) -> Answer:
    """POST /invocations: a body of chat, of completions or of embeddings, told apart by its fields."""
    data = await request.json_object()
    for name, handler in (("messages", chat), ("prompt", completions), ("input", embeddings)):
        if data.get(name) is not None:
            return await handler(service, request)
    raise RequestError("give messages, prompt or input", param="messages")


async def vertex(service: Service, request: Request) -> Answer:
    """POST /vertex_generate: {"predictions": [one answer of /generate for each instance]}."""
    body = await request.struct(VertexBody)
    service.check_fields(request)
    if not 0 < len(body.instances) <= native_api.MAX_BATCH:
        raise RequestError(f"instances must hold 1 to {native_api.MAX_BATCH} objects", param="instances")
    calls = []
    num_generations = 0
    for index, instance in enumerate(body.instances):
        fields = {**(body.parameters or {}), **instance}
        request.note_ignored(fields, native_api.NativeBody, f"instances.{index}.")
        service.check_fields(request)
        try:
            asked = native_api.convert({**fields, "stream": False})
            calls.append(native_api.parse(asked, client=request.client))
            num_generations += sum(one.sampling.n for one in calls[-1].requests)
            native_api.check_generations(num_generations)
        except RequestError as error:
            error.param = f"instances.{index}.{error.param}" if error.param else f"instances.{index}"
            raise
    answers: list[dict[str, Any]] = []
    for call in calls:
        for one in call.requests:
            one.timeout_s = service.timeout(one.timeout_s)
        answers += as_list(await request.guard(native_run.whole(service.front, call)))
    return json_response({"predictions": answers})


async def unserved(service: Service, request: Request) -> Answer:
    """501, with the reason; 400 where another model could."""
    status = 400 if request.path == "/infill" else 501
    raise HttpError(status, _UNSERVED[request.path], code="not_implemented")


def routes() -> list[Route]:
    return [
        Route(path="/invocations", handler=invocations, body=dict, summary="Chat or text (SageMaker)"),
        Route(path="/vertex_generate", handler=vertex, body=VertexBody, summary="Generate text (Vertex AI)"),
        *(Route(path=path, handler=unserved, body=dict, is_listed=False) for path in _UNSERVED),
    ]
