"""Published programs as models of the chat API: a conversation goes in, what the program answers comes out.

The answer is what the body returns; without that, the last assistant message; without roles, the last value.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import msgspec

from ...constrained.wire import constraint_in
from ...errors import RequestError
from ..programs.published import Published
from ..programs.saying import Saying
from .http import Answer, EventStream, Request, json_response
from .programs import backend_of, host_of, whole_run
from .service import Service
from .streaming import DONE, event

if TYPE_CHECKING:
    from .chat import ChatBody

_encode = msgspec.json.Encoder().encode
_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "stop", "seed", "frequency_penalty", "presence_penalty")
_REFUSED = ("tools", "logprobs", "logit_bias")


def program_of(service: Service, name: str | None) -> Published | None:
    """The program that a request's `model` names, if it is one."""
    return service.published.get(name) if name else None


def cards(service: Service) -> list[dict[str, Any]]:
    """Of published programs, for GET /v1/models."""
    return [
        {
            "id": name,
            "object": "model",
            "created": service.created,
            "owned_by": "radixlang",
            "root": service.engine_config.model_path,
            "parent": service.model_name,
            "max_model_len": service.max_context,
            "program": program.schema(),
        }
        for name, program in service.published.items()
    ]


async def chat_with(service: Service, request: Request, program: Published, body: ChatBody) -> Answer:
    """One run of `program`, told as a chat completion; a stream gives the answer as it grows, see programs.saying."""
    found = constraint_in(body)
    if found is not None:
        raise RequestError(f"{program.name} is a program, which takes no constraint", param=found.param)
    for name in _REFUSED:
        if getattr(body, name, None):
            raise RequestError(f"{program.name} is a program, which takes no {name}", param=name)
    if (body.n or 1) != 1:
        raise RequestError(f"{program.name} is a program: n must be 1", param="n")
    sampling = {name: value for name in _SAMPLING if (value := getattr(body, name, None)) is not None}
    limit = body.max_completion_tokens if body.max_completion_tokens is not None else body.max_tokens
    if limit is not None:
        sampling["max_new_tokens"] = limit
    arguments = program.of_messages([m for m in body.messages or [] if isinstance(m, dict)])
    prepared = host_of(service).prepare_published(
        program, arguments, sampling, timeout=service.timeout(body.timeout), stream=bool(body.stream)
    )
    backend = backend_of(service, request, prepared)
    head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": program.name}
    if not body.stream:
        result = await request.guard(whole_run(service, prepared, backend))
        message = {"role": "assistant", "content": answer_of(result), "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        return json_response(
            {**head, "object": "chat.completion", "choices": [choice], "usage": _usage(result), "program": result}
        )
    with_usage = bool(body.stream_options and body.stream_options.include_usage)

    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return event(_encode({**head, "object": "chat.completion.chunk", "choices": [choice]}))

    async def frames() -> AsyncIterator[bytes]:
        saying, sent, result = Saying(program.returned), "", dict[str, Any]()
        async with contextlib.aclosing(host_of(service).run(prepared, backend, saying.begin)) as events:
            async for one in events:
                known = saying.text()
                if one["event"] == "done":
                    result, known = one, answer_of(one)
                if not sent and (known or result):
                    yield chunk({"role": "assistant", "content": ""})
                if len(known) > len(sent) and known.startswith(sent):
                    yield chunk({"content": known[len(sent) :]})
                    sent = known
        yield chunk({}, "stop")
        if with_usage:
            last: dict[str, Any] = {**head, "object": "chat.completion.chunk", "choices": [], "usage": _usage(result)}
            yield event(_encode(last))
        yield DONE

    return EventStream(frames())


def answer_of(result: dict[str, Any]) -> str:
    """What a run says, as one text."""
    value = result.get("result")
    if value is None:
        said = [m["content"] for m in result["messages"] if m["role"] == "assistant" and isinstance(m["content"], str)]
        value = said[-1] if said else next(reversed(result["variables"].values()), result["text"])
    return value if isinstance(value, str) else _encode(value).decode()


def _usage(result: dict[str, Any]) -> dict[str, Any]:
    usage = result["usage"]
    return {
        "prompt_tokens": usage["prompt_tokens"],
        "completion_tokens": usage["completion_tokens"],
        "total_tokens": usage["total_tokens"],
        "prompt_tokens_details": {"cached_tokens": usage["cached_tokens"]},
    }
