"""POST /v1/rerank, /v2/rerank and /classify on the generative model: how likely it names each of some options.

What Cohere's, Jina's and vLLM's clients send and read. A generative model has no classes of its own: /classify takes
them as `labels`.
"""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

from ...errors import RequestError
from ..native_api import MAX_BATCH
from .http import Answer, Request, json_response
from .route import Route
from .service import Service
from .systemone import MAX_OPTIONS, Asked, Shares, score_options

_ANSWERS = {"yes": "", "no": ""}


class Document(msgspec.Struct):
    text: str


class RerankBody(msgspec.Struct):
    """Cohere's and Jina's body."""

    query: str
    documents: list[str | Document]
    model: str | None = None
    top_n: int | None = None
    return_documents: bool = True
    instruction: str | None = None
    """What makes a document relevant; default: that it answers the query."""


class ClassifyBody(msgspec.Struct):
    """vLLM's body, with the classes."""

    input: str | list[str]
    labels: list[str]
    model: str | None = None
    instruction: str | None = None
    """The question that the labels answer; default: which fits best."""


async def rerank(service: Service, request: Request) -> Answer:
    """The documents, the most relevant first: `relevance_score` is the probability of "yes"."""
    body = await request.struct(RerankBody)
    service.check_fields(request)
    service.check_model(body.model)
    if not 0 < len(body.documents) <= MAX_BATCH:
        raise RequestError(f"documents must hold 1 to {MAX_BATCH} texts", param="documents")
    if body.top_n is not None and body.top_n < 1:
        raise RequestError("top_n must be at least 1", param="top_n")
    texts = [d if isinstance(d, str) else d.text for d in body.documents]
    asked = body.instruction or "Does this document answer the query?"
    states = (f"Document: {text}\n\nQuery: {body.query}" for text in texts)
    found = await score_options(service, request, [Asked(state, asked, _ANSWERS) for state in states])
    order = sorted(range(len(texts)), key=lambda i: -found[i].probabilities[0])[: body.top_n]
    results: list[dict[str, Any]] = [{"index": i, "relevance_score": found[i].probabilities[0]} for i in order]
    if body.return_documents:
        results = [{**told, "document": {"text": texts[told["index"]]}} for told in results]
    usage = _usage(found)
    return json_response(
        {
            "id": f"rerank-{uuid.uuid4().hex}",
            "model": body.model or service.model_name,
            "results": results,
            "usage": usage,
            "meta": {"tokens": {"input_tokens": usage["prompt_tokens"]}},
        }
    )


async def classify(service: Service, request: Request) -> Answer:
    """The likeliest label of each input, and the probabilities of all."""
    body = await request.struct(ClassifyBody)
    service.check_fields(request)
    service.check_model(body.model)
    texts = [body.input] if isinstance(body.input, str) else body.input
    if not 0 < len(texts) <= MAX_BATCH:
        raise RequestError(f"input must hold 1 to {MAX_BATCH} texts", param="input")
    options = dict.fromkeys(body.labels, "")
    if not 2 <= len(body.labels) <= MAX_OPTIONS or len(options) < len(body.labels):
        raise RequestError(f"labels must hold 2 to {MAX_OPTIONS} texts that differ", param="labels")
    asked = body.instruction or "Which label fits this text best?"
    found = await score_options(service, request, [Asked(text, asked, options) for text in texts])
    data = []
    for index, shares in enumerate(found):
        best = max(range(len(options)), key=shares.probabilities.__getitem__)
        told = {"index": index, "label": body.labels[best], "probs": shares.probabilities}
        data.append({**told, "num_classes": len(options)})
    head = {"id": f"classify-{uuid.uuid4().hex}", "object": "list", "created": service.created}
    return json_response({**head, "model": body.model or service.model_name, "data": data, "usage": _usage(found)})


def _usage(found: list[Shares]) -> dict[str, Any]:
    tokens = sum(shares.prompt_tokens for shares in found)
    cached = sum(shares.cached_tokens for shares in found)
    return {"prompt_tokens": tokens, "total_tokens": tokens, "prompt_tokens_details": {"cached_tokens": cached}}


def routes() -> list[Route]:
    return [
        *(
            Route(path=path, handler=rerank, body=RerankBody, summary="Documents by relevance")
            for path in ("/v1/rerank", "/v2/rerank", "/rerank")
        ),
        *(
            Route(path=path, handler=classify, body=ClassifyBody, summary="Labels of texts")
            for path in ("/classify", "/v1/classify")
        ),
    ]
