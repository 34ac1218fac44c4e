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
from .conversation import obliged, shown
from .generation import Tally, chunks_of, finish_reason, gather, headers_of, usage_of, warnings_of
from .http import Answer, EventStream, Request, json_response
from .messages import prompt_ids, template_messages
from .openai_fields import GenerationFields, check_top_logprobs, client_of, constraint_of, sampling_of
from .openai_logprobs import chat_logprobs
from .program_models import chat_with, program_of
from .reasoning import Thinking, Thoughts
from .route import Route
from .service import Service
from .streaming import DONE, event
from .tools.plan import ToolPlan, call_object, plan_tools, read
from .tools.stream import ToolStream

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
    program = program_of(service, body.model)
    if program is not None:
        return await chat_with(service, request, program, body)
    adapter = service.adapter_of(body.model, body.lora_path)
    num_top = check_top_logprobs(bool(body.logprobs), body.top_logprobs)
    plan = plan_tools(body.tools, body.tool_choice, form=service.tool_form, is_parallel=body.parallel_tool_calls)
    ids = await _prompt_ids(service, body, plan)
    max_name = "max_completion_tokens" if body.max_completion_tokens is not None else "max_tokens"
    asked = body.max_completion_tokens if body.max_completion_tokens is not None else body.max_tokens
    if asked is None:
        asked = body.n_predict if body.n_predict is not None and body.n_predict >= 0 else None
    found = constraint_of(body)
    found, thinking = obliged(service, ids, plan, found, shows_thoughts=body.separate_reasoning is False)
    sampling = sampling_of(
        body,
        max_tokens=asked if asked is not None else max(1, service.max_context - len(ids)),
        max_name=max_name,
        vocab_size=service.vocab_size,
        defaults=service.sampling_defaults,
    )
    shape = _Shape(service, body, plan, num_top, thinking, request.ignored)
    call = GenerateRequest(
        prompt=[ids],
        sampling=shown(sampling, plan, thinking),
        constraint=found.constraint if found else None,
        logprobs=LogprobRequest(output=True, num_top=num_top) if body.logprobs else None,
        rid=body.rid or body.request_id or shape.id,
        stream=bool(body.stream),
        client=client_of(request.client, body.user),
        namespace=body.extra_key or body.cache_salt or "",
        adapter=adapter,
        priority=body.priority or 0,
        timeout_s=service.timeout(body.timeout),
        add_bos=False,
    )
    chunks = chunks_of(front, call, prompt_param="messages", found=found)
    if body.stream:
        return EventStream(shape.stream(chunks))
    return await request.guard(shape.whole(chunks, sampling.n))


async def _prompt_ids(service: Service, body: ChatBody, plan: ToolPlan | None) -> list[int]:
    front = service.front
    if body.chat_template is not None:
        raise RequestError("chat templates from requests are not accepted by this server", param="chat_template")
    if body.input_ids is None:
        return await prompt_ids(
            service,
            template_messages(body.messages),
            plan,
            kwargs=_variables(service, body),
            continue_final_message=bool(body.continue_final_message),
        )
    ids = await front.tokenize([body.input_ids])
    if len(ids) >= service.max_context:
        raise PromptTooLong(len(ids) + 1, service.max_context, param="input_ids")
    return ids


def _variables(service: Service, body: ChatBody) -> dict[str, Any] | None:
    """The request's variables of the template; `reasoning_effort` is one where the template knows it."""
    template = service.front.template
    effort = body.reasoning_effort
    if effort is None or template is None or "reasoning_effort" not in template.source:
        return body.chat_template_kwargs
    return {"reasoning_effort": effort, **(body.chat_template_kwargs or {})}


class _Shape:
    """chat.completion and chat.completion.chunk of one request."""

    def __init__(
        self,
        service: Service,
        body: ChatBody,
        plan: ToolPlan | None,
        num_top: int,
        thinking: Thinking | None,
        ignored: list[str],
    ) -> None:
        self._thinking = thinking
        self._ignored = ignored
        self._tokenizer = service.front.tokenizer
        self._plan = plan
        self._body = body
        self._num_top = num_top
        self.id = f"chatcmpl-{uuid.uuid4().hex}"
        self._head: dict[str, Any] = {
            "id": self.id,
            "created": int(time.time()),
            "model": body.model or service.model_name,
            "system_fingerprint": service.fingerprint,
        }

    async def whole(self, chunks: AsyncIterator[GenerateChunk], count: int) -> Answer:
        tally = Tally()
        generations, _ = await gather(chunks, count, tally)
        choices = []
        num_thought = 0
        for g in generations:
            said, thought = "".join(g.text), ""
            if self._thinking is not None:
                thought, said = self._thinking.reader().push(said, is_last=True)
                num_thought += self._num_tokens(thought)
            text, calls = read(said, self._plan)
            message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
            if thought:
                message["reasoning_content"] = thought
            reason = finish_reason(g.finish)
            if calls:
                message["content"] = text or None
                message["tool_calls"] = [call_object(call) for call in calls]
                reason = "tool_calls" if reason == "stop" and calls[-1].is_whole else reason
            choice: dict[str, Any] = {
                "index": g.index,
                "message": message,
                "logprobs": chat_logprobs(self._tokenizer, g.logprobs, self._num_top) if self._body.logprobs else None,
                "finish_reason": reason,
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
                "usage": usage_of([tally], reasoning_tokens=num_thought),
                "timings": tally.timings(),
                **warnings_of(self._ignored),
            },
            headers=headers_of([tally]),
        )

    def _num_tokens(self, thought: str) -> int:
        return len(self._tokenizer.encode_continuation(thought)) if thought else 0

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
        calls: dict[int, ToolStream] = {}
        thoughts: dict[int, Thoughts] = {}
        async with contextlib.aclosing(chunks):
            async for chunk in chunks:
                tally.take(chunk)
                index = chunk.index
                if index not in begun:
                    begun.add(index)
                    yield frame(index, b'{"role":"assistant","content":""}')
                    if self._plan is not None:
                        calls[index] = ToolStream(self._plan)
                    if self._thinking is not None:
                        is_held = self._body.stream_reasoning is False
                        thoughts[index] = self._thinking.reader(is_held=is_held)
                tools = calls.get(index)
                told = b"null"
                if self._body.logprobs and chunk.logprobs:
                    told = _encode(chat_logprobs(self._tokenizer, chunk.logprobs, self._num_top))
                extra = b',"token_ids":' + _encode(chunk.token_ids) if self._body.return_token_ids else b""
                said, deltas = chunk.text, []
                if index in thoughts:
                    thought, said = thoughts[index].push(said, is_last=chunk.finish is not None)
                    deltas = [b'{"reasoning_content":%b}' % _encode(thought)] if thought else []
                if tools is not None:
                    deltas += [_encode(delta) for delta in tools.push(said)]
                    if chunk.finish is not None:
                        deltas += [_encode(delta) for delta in tools.finish()]
                elif said:
                    deltas.append(b'{"content":%b}' % _encode(said))
                if not deltas and (told != b"null" or (extra and chunk.token_ids)):
                    deltas = [b'{"content":""}']
                for delta in deltas:
                    yield frame(index, delta, told, extra=extra)
                    told, extra = b"null", b""
                if chunk.finish is not None:
                    reason = finish_reason(chunk.finish)
                    if tools is not None and tools.ends_in_calls and reason == "stop":
                        reason = "tool_calls"
                    matched = b',"matched_stop":' + _encode(chunk.finish.matched)
                    yield frame(index, b"{}", finish=_encode(reason), extra=matched)
        if with_usage:
            last = {**self._head, "object": "chat.completion.chunk", "choices": []}
            num_thought = sum(self._num_tokens(reader.text) for reader in thoughts.values())
            usage = usage_of([tally], reasoning_tokens=num_thought)
            yield event(_encode({**last, "usage": usage, "timings": tally.timings()}))
        yield DONE


def routes() -> list[Route]:
    return [Route(path="/v1/chat/completions", handler=chat, body=ChatBody, summary="Chat")]
