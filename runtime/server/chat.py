"""POST /v1/chat/completions."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import msgspec

from ...errors import PromptTooLong, RequestError
from ..generate_request import GenerateChunk, GenerateRequest
from ..messages import LogprobRequest
from .generation import Tally, chunks_of, finish_reason, gather, usage_of
from .http import Answer, EventStream, Request, json_response
from .messages import render, template_messages
from .openai_fields import GenerationFields, check_top_logprobs, constraint_of, refuse_adapters, sampling_of
from .openai_logprobs import chat_logprobs
from .route import Route
from .service import Service
from .streaming import DONE, event

_encode = msgspec.json.Encoder().encode


class ChatBody(GenerationFields, kw_only=True):
    """OpenAI's body, with SGLang's, vLLM's and llama.cpp's additions."""

    messages: list[Any] | None = None
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    chat_template: str | None = None
    continue_final_message: bool | None = None
    add_generation_prompt: bool | None = None
    input_ids: list[int] | None = None
    separate_reasoning: bool | None = None
    stream_reasoning: bool | None = None


async def chat(service: Service, request: Request) -> Answer:
    """One conversation, n answers."""
    front = service.front
    body = await request.struct(ChatBody)
    service.check_fields(request)
    service.check_model(body.model)
    refuse_adapters(body)
    num_top = check_top_logprobs(bool(body.logprobs), body.top_logprobs)
    ids = await _prompt_ids(service, body)
    max_name = "max_completion_tokens" if body.max_completion_tokens is not None else "max_tokens"
    asked = body.max_completion_tokens if body.max_completion_tokens is not None else body.max_tokens
    if asked is None:
        asked = body.n_predict if body.n_predict is not None and body.n_predict >= 0 else None
    found = constraint_of(body)
    sampling = sampling_of(
        body,
        max_tokens=asked if asked is not None else max(1, service.max_context - len(ids)),
        max_name=max_name,
        vocab_size=service.vocab_size,
    )
    call = GenerateRequest(
        prompt=[ids],
        sampling=sampling,
        constraint=found.constraint if found else None,
        logprobs=LogprobRequest(output=True, num_top=num_top) if body.logprobs else None,
        rid=body.rid,
        stream=bool(body.stream),
        client=request.client,
        namespace=body.extra_key or body.cache_salt or "",
        priority=body.priority or 0,
        timeout_s=service.timeout(body.timeout),
        add_bos=False,
    )
    chunks = chunks_of(front, call, prompt_param="messages", found=found)
    shape = _Shape(service, body, num_top)
    if body.stream:
        return EventStream(shape.stream(chunks))
    return await request.guard(shape.whole(chunks, sampling.n))


async def _prompt_ids(service: Service, body: ChatBody) -> list[int]:
    front = service.front
    if body.chat_template is not None and not service.config.trust_request_chat_template:
        raise RequestError("chat templates from requests are not accepted by this server", param="chat_template")
    if body.input_ids is not None:
        ids = await front.tokenize([body.input_ids])
    else:
        messages = template_messages(body.messages)
        text = render(
            front, messages, kwargs=body.chat_template_kwargs, continue_final_message=bool(body.continue_final_message)
        )
        ids = await front.tokenize([text], add_bos=False)
    if len(ids) >= service.max_context:
        raise PromptTooLong(len(ids) + 1, service.max_context, param="messages")
    return ids


class _Shape:
    """chat.completion and chat.completion.chunk of one request."""

    def __init__(self, service: Service, body: ChatBody, num_top: int) -> None:
        self._tokenizer = service.front.tokenizer
        self._body = body
        self._num_top = num_top
        self._head: dict[str, Any] = {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": body.model or service.model_name,
            "system_fingerprint": service.fingerprint,
        }

    async def whole(self, chunks: AsyncIterator[GenerateChunk], count: int) -> Answer:
        tally = Tally()
        generations, _ = await gather(chunks, count, tally)
        choices = []
        for g in generations:
            choice: dict[str, Any] = {
                "index": g.index,
                "message": {"role": "assistant", "content": "".join(g.text), "refusal": None},
                "logprobs": chat_logprobs(self._tokenizer, g.logprobs, self._num_top) if self._body.logprobs else None,
                "finish_reason": finish_reason(g.finish),
                "matched_stop": g.finish.matched if g.finish else None,
            }
            if self._body.return_token_ids:
                choice["token_ids"] = g.token_ids
            choices.append(choice)
        return json_response(
            {
                **self._head,
                "object": "chat.completion",
                "choices": choices,
                "usage": usage_of([tally]),
                "timings": tally.timings(),
            }
        )

    async def stream(self, chunks: AsyncGenerator[GenerateChunk, None]) -> AsyncIterator[bytes]:
        options = self._body.stream_options
        with_usage = bool(options and options.include_usage)
        usage_always = bool(options and options.continuous_usage_stats)
        tally = Tally()
        # One frame is head + delta + tail: the part that never changes is encoded once.
        head = _encode({**self._head, "object": "chat.completion.chunk"})[:-1] + b',"choices":[{"index":'
        plain_tail = b',"usage":null}' if with_usage else b"}"

        def frame(
            index: int, delta: bytes, logprobs: bytes = b"null", finish: bytes = b"null", extra: bytes = b""
        ) -> bytes:
            tail = b',"usage":' + _encode(usage_of([tally])) + b"}" if usage_always else plain_tail
            return event(
                b'%b%d,"delta":%b,"logprobs":%b,"finish_reason":%b%b}]%b'
                % (head, index, delta, logprobs, finish, extra, tail)
            )

        begun: set[int] = set()
        async with contextlib.aclosing(chunks):
            async for chunk in chunks:
                tally.take(chunk)
                index = chunk.index
                if index not in begun:
                    begun.add(index)
                    yield frame(index, b'{"role":"assistant","content":""}')
                if chunk.text or (self._body.logprobs and chunk.logprobs):
                    told = b"null"
                    if self._body.logprobs:
                        told = _encode(chat_logprobs(self._tokenizer, chunk.logprobs, self._num_top))
                    extra = b',"token_ids":' + _encode(chunk.token_ids) if self._body.return_token_ids else b""
                    yield frame(index, b'{"content":%b}' % _encode(chunk.text), told, extra=extra)
                if chunk.finish is not None:
                    matched = b',"matched_stop":' + _encode(chunk.finish.matched)
                    yield frame(index, b"{}", finish=_encode(finish_reason(chunk.finish)), extra=matched)
        if with_usage:
            last = {**self._head, "object": "chat.completion.chunk", "choices": []}
            yield event(_encode({**last, "usage": usage_of([tally]), "timings": tally.timings()}))
        yield DONE


def routes() -> list[Route]:
    return [Route(path="/v1/chat/completions", handler=chat, body=ChatBody, summary="Chat")]
