"""POST /v1/score: how likely each of some tokens continues each of some texts."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from ...errors import RequestError
from ...lang.at_once import at_once
from ..generate_request import GenerateRequest
from ..messages import LogprobRequest
from ..native_api import MAX_BATCH
from ..sampling_params import SamplingParams
from .generation import WIDTH, Tally, chunks_of, gather, usage_of
from .http import Answer, Request, json_response
from .route import Route
from .service import Service

MAX_LABELS = 1024


class ScoreBody(msgspec.Struct):
    """SGLang's body: the prompts are query + item, or item + query."""

    items: str | list[str | int | list[int]]
    label_token_ids: list[int]
    query: str | list[int] | None = None
    apply_softmax: bool = False
    """Probabilities among the labels; otherwise among all tokens."""
    item_first: bool = False
    model: str | None = None
    user: str | None = None


async def score(service: Service, request: Request) -> Answer:
    """One list of probabilities for each item, in the order of the labels."""
    body = await request.struct(ScoreBody)
    service.check_fields(request)
    adapter = service.adapter_of(body.model)
    prompts = _prompts(body)
    labels = body.label_token_ids
    if not 0 < len(labels) <= MAX_LABELS:
        raise RequestError(f"label_token_ids must hold 1 to {MAX_LABELS} ids", param="label_token_ids")
    if any(not 0 <= label < service.vocab_size for label in labels):
        raise RequestError(f"label_token_ids must lie in [0, {service.vocab_size - 1}]", param="label_token_ids")
    tallies = [Tally() for _ in prompts]
    call_id = service.front.new_id()

    async def one(prompt: list[str | list[int]], tally: Tally) -> list[float]:
        call = GenerateRequest(
            prompt=prompt,
            sampling=SamplingParams(max_new_tokens=1, temperature=0.0),
            logprobs=LogprobRequest(output=True, token_ids=tuple(labels)),
            call=call_id,
            client=request.client,
            adapter=adapter,
            timeout_s=service.timeout(None),
        )
        generations, _ = await gather(chunks_of(service.front, call, prompt_param="items"), 1, tally)
        if not generations[0].logprobs:
            raise RequestError("the item left no room for a token; shorten it", param="items")
        return _probabilities(generations[0].logprobs[0].asked, among_labels=body.apply_softmax)

    scores = await request.guard(at_once((one(*each) for each in zip(prompts, tallies, strict=True)), width=WIDTH))
    return json_response(
        {
            "object": "scoring",
            "scores": scores,
            "model": body.model or service.model_name,
            "usage": usage_of(tallies),
        }
    )


def _prompts(body: ScoreBody) -> list[list[str | list[int]]]:
    is_one = isinstance(body.items, str) or (bool(body.items) and all(isinstance(item, int) for item in body.items))
    items: list[Any] = [body.items] if is_one else list(body.items)
    if not is_one and any(isinstance(item, int) for item in items):
        raise RequestError("items must be texts or lists of ids, or one list of ids", param="items")
    if not 0 < len(items) <= MAX_BATCH:
        raise RequestError(f"items must hold 1 to {MAX_BATCH} texts", param="items")
    prompts: list[list[str | list[int]]] = []
    for item in items:
        parts: list[Any] = [item]
        if body.query is not None:
            parts.insert(len(parts) if body.item_first else 0, body.query)
        # Two texts are one text: tokens may span the seam, as they would in a prompt.
        prompts.append(["".join(parts)] if all(isinstance(p, str) for p in parts) else parts)
    return prompts


def _probabilities(logprobs: list[float], *, among_labels: bool) -> list[float]:
    values = [math.exp(lp) for lp in logprobs]
    if not among_labels:
        return values
    highest = max(logprobs)
    weights = [math.exp(lp - highest) for lp in logprobs]
    return [w / sum(weights) for w in weights]


def routes() -> list[Route]:
    return [Route(path="/v1/score", handler=score, body=ScoreBody, summary="Probabilities of labels")]
