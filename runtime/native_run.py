"""Native calls on a front: answers as they come, or whole."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from ..constrained.fields import locate
from ..errors import GrammarError
from .front import Front
from .merge import merge
from .native_answer import Answer
from .native_api import NativeCall


def stream(front: Front, call: NativeCall) -> AsyncGenerator[dict[str, Any], None]:
    """Bodies as they come; `index` (prompt * n + generation) when there are several. Closing it aborts all."""
    return merge([_one(front, call, index) for index in range(len(call.requests))])


async def whole(front: Front, call: NativeCall) -> dict[str, Any] | list[dict[str, Any]]:
    """The finished answers: one object, or a list for a batch or n > 1."""
    call.deltas = False
    for request in call.requests:
        request.stream = False
    finished: dict[int, dict[str, Any]] = {}
    async for body in stream(front, call):
        if body["meta_info"]["finish_reason"] is not None:
            finished[body.pop("index", 0)] = body
    answers = [finished[index] for index in sorted(finished)]
    return answers if call.is_batch or call.requests[0].sampling.n > 1 else answers[0]


async def _one(front: Front, call: NativeCall, position: int) -> AsyncGenerator[dict[str, Any], None]:
    request = call.requests[position]
    count = request.sampling.n
    rid = request.rid = request.rid or front.new_id()
    token_text = front.tokenizer.token_text if call.texts_in_logprobs else None
    asked = request.logprobs.token_ids if request.logprobs is not None else ()
    answers = [
        Answer(
            rid if index == 0 else f"{rid}#{index}",
            token_text,
            deltas=call.deltas,
            has_logprobs=request.logprobs is not None,
        )
        for index in range(count)
    ]
    chunks = front.generate(request) if request.session is None else front.sessions.generate(request)
    try:
        async for chunk in chunks:
            answers[chunk.index].take(chunk, asked=asked)
            body = answers[chunk.index].body()
            if count > 1 or len(call.requests) > 1:
                body["index"] = position * count + chunk.index
            yield body
    except GrammarError as error:
        if call.constraint_params[position]:
            locate(error, call.constraint_params[position])
        raise
    finally:
        await chunks.aclose()
