"""POST /v1/embeddings on the generative model: the final hidden state of the last token, of unit length."""

from __future__ import annotations

import base64
import math
import struct
from typing import Any, Literal

import msgspec

from ...errors import RequestError
from .. import native_run
from .http import Answer, Request, json_response
from .native import as_list, hidden_call
from .route import Route
from .service import Service


class EmbeddingsBody(msgspec.Struct):
    """OpenAI's body."""

    input: str | list[str | int | list[int]]
    model: str | None = None
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None
    user: str | None = None


async def embeddings(service: Service, request: Request) -> Answer:
    """One vector for each input."""
    front = service.front
    body = await request.struct(EmbeddingsBody)
    service.check_fields(request)
    adapter = service.adapter_of(body.model)
    given: Any = body.input
    if not given:
        raise RequestError("input must be a text, ids, or a list of those that is not empty", param="input")
    is_text = isinstance(given, str) or isinstance(given[0], str)
    if not isinstance(given, str) and any(isinstance(g, str) != is_text for g in given):
        raise RequestError("input must be all texts or all ids", param="input")
    try:
        call = hidden_call(
            service, given if is_text else None, None if is_text else given, request.client, adapter=adapter
        )
        answers = as_list(await request.guard(native_run.whole(front, call)))
    except RequestError as error:
        if error.param != "lora_path":
            error.param = "input"
        raise
    vectors = [unit(a["embedding"]) for a in answers]
    if body.dimensions is not None and body.dimensions != len(vectors[0]):
        raise RequestError(
            f"this model's vectors have {len(vectors[0])} dimensions and cannot be shortened", param="dimensions"
        )
    tokens = sum(a["meta_info"]["prompt_tokens"] for a in answers)
    data = [
        {"object": "embedding", "index": i, "embedding": _packed(v) if body.encoding_format == "base64" else v}
        for i, v in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return json_response({"object": "list", "data": data, "model": body.model or service.model_name, "usage": usage})


def unit(vector: list[float]) -> list[float]:
    """Of length 1."""
    length = math.sqrt(sum(x * x for x in vector)) or 1.0
    return [x / length for x in vector]


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def routes() -> list[Route]:
    return [Route(path="/v1/embeddings", handler=embeddings, body=EmbeddingsBody, summary="Vectors of texts")]
