"""POST /v1/completions."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import msgspec

from ...errors import PromptTooLong, RequestError
from ...lang.at_once import at_once
from ..generate_request import GenerateChunk, GenerateRequest
from ..merge import merge
from ..messages import LogprobRequest
from ..native_api import MAX_BATCH, check_generations
from ..sampling_params import MAX_N
from .generation import Generation, Tally, chunks_of, finish_reason, gather, headers_of, usage_of, warnings_of
from .http import Answer, EventStream, Request, json_response
from .openai_fields import MAX_TOP_LOGPROBS, GenerationFields, client_of, constraint_of, sampling_of
from .openai_logprobs import LegacyLogprobs
from .route import Route
from .service import Service
from .streaming import DONE, event

_encode = msgspec.json.Encoder().encode
DEFAULT_MAX_TOKENS = 16


class CompletionBody(GenerationFields, kw_only=True):
    """OpenAI's body, with SGLang's, vLLM's and llama.cpp's additions."""

    prompt: str | list[str | int | list[int]] | None = None
    best_of: int | None = None
    echo: bool | None = None
    logprobs: int | None = None
    suffix: str | None = None


async def completions(service: Service, request: Request) -> Answer:
    """One or many prompts, n texts each."""
    body = await request.struct(CompletionBody)
    service.check_fields(request)
    adapter = service.adapter_of(body.model, body.lora_path)
    _check(body)
    prompts = await _prompts(service, body)
    found = constraint_of(body)
    asked = body.max_tokens if body.max_tokens is not None else body.n_predict
    sampling = sampling_of(
        body,
        max_tokens=asked if asked is not None else DEFAULT_MAX_TOKENS,
        max_name="max_tokens",
        vocab_size=service.vocab_size,
        defaults=service.sampling_defaults,
    )
    best_of = body.best_of if body.best_of is not None else sampling.n
    check_generations(len(prompts) * best_of)
    wanted = None
    if body.logprobs is not None or best_of > sampling.n:
        wanted = LogprobRequest(
            output=True, prompt_start=0 if body.echo and body.logprobs is not None else -1, num_top=body.logprobs or 0
        )
    rid = body.rid or body.request_id
    call_id = f"cmpl-{uuid.uuid4().hex}"
    calls = [
        GenerateRequest(
            prompt=[ids],
            sampling=msgspec.structs.replace(sampling, n=best_of),
            constraint=found.constraint if found else None,
            logprobs=wanted,
            rid=rid if len(prompts) == 1 or rid is None else f"{rid}_{index}",
            stream=bool(body.stream),
            call=call_id,
            client=client_of(request.client, body.user),
            namespace=body.extra_key or body.cache_salt or "",
            adapter=adapter,
            priority=body.priority or 0,
            timeout_s=service.timeout(body.timeout),
            add_bos=False,
        )
        for index, ids in enumerate(prompts)
    ]
    streams = [chunks_of(service.front, call, prompt_param="prompt", found=found) for call in calls]
    shape = _Shape(service, body, prompts, sampling.n, call_id, request.ignored)
    if body.stream:
        return EventStream(shape.stream(streams))
    return await request.guard(shape.whole(streams, best_of))


def _check(body: CompletionBody) -> None:
    if body.suffix:
        raise RequestError("this model cannot fill in the middle; drop suffix", param="suffix")
    if body.logprobs is not None and not 0 <= body.logprobs <= MAX_TOP_LOGPROBS:
        raise RequestError(f"logprobs must be in [0, {MAX_TOP_LOGPROBS}], found {body.logprobs}", param="logprobs")
    if body.best_of is not None:
        if body.best_of < (body.n or 1):
            raise RequestError("best_of must be at least n", param="best_of")
        if body.best_of > MAX_N:  # before anything is made for each of them
            raise RequestError(f"best_of must be at most {MAX_N}, found {body.best_of}", param="best_of")
        if body.stream and body.best_of > (body.n or 1):
            raise RequestError("best_of above n cannot be streamed", param="best_of")


async def _prompts(service: Service, body: CompletionBody) -> list[list[int]]:
    """The prompts' ids. Raises RequestError naming the prompt."""
    front = service.front
    value: Any = body.prompt
    if value is None or value == []:
        raise RequestError(
            "prompt must be a string, a list of strings, a list of ids or a list of those", param="prompt"
        )
    kinds = {str} if isinstance(value, str) else {type(part) for part in value}
    if len(kinds) > 1:
        raise RequestError("prompt mixes strings, ids and lists of ids; give one kind", param="prompt")
    given = [value] if isinstance(value, str) or kinds == {int} else value
    if len(given) > MAX_BATCH:
        raise RequestError(f"at most {MAX_BATCH} prompts a request, found {len(given)}", param="prompt")
    prompts = []
    for part in given:
        try:
            ids = await front.tokenize([part])
        except RequestError as error:
            error.param = "prompt"
            raise
        if len(ids) > service.max_context:
            raise PromptTooLong(len(ids), service.max_context, param="prompt")
        prompts.append(ids)
    return prompts


class _Shape:
    """text_completion of one request; choice i * n + j is text j of prompt i."""

    def __init__(
        self,
        service: Service,
        body: CompletionBody,
        prompts: list[list[int]],
        n: int,
        call_id: str,
        ignored: list[str],
    ) -> None:
        self._ignored = ignored
        self._tokenizer = service.front.tokenizer
        self._body = body
        self._prompts = prompts
        self._n = n
        self._head: dict[str, Any] = {
            "id": call_id,
            "object": "text_completion",
            "created": int(time.time()),
            "model": body.model or service.model_name,
            "system_fingerprint": service.fingerprint,
        }

    def _echoed(self, position: int) -> str:
        if not self._body.echo:
            return ""
        value: Any = self._body.prompt
        given = value if isinstance(value, str) or isinstance(value[0], int) else value[position]
        return given if isinstance(given, str) else self._tokenizer.decode(given, skip_special_tokens=False)

    async def whole(self, streams: list[AsyncGenerator[GenerateChunk, None]], count: int) -> Answer:
        tallies = [Tally() for _ in streams]
        gathered = await at_once(gather(s, count, t) for s, t in zip(streams, tallies, strict=True))
        choices = []
        for position, (generations, prompt_logprobs) in enumerate(gathered):
            best = generations if count == self._n else sorted(generations, key=_mean_logprob, reverse=True)[: self._n]
            for j, g in enumerate(best):
                logprobs = None
                if self._body.logprobs is not None:
                    lists = LegacyLogprobs(self._tokenizer, self._body.logprobs)
                    logprobs = lists.take([*prompt_logprobs, *g.logprobs])
                choice: dict[str, Any] = {
                    "index": position * self._n + j,
                    "text": self._echoed(position) + "".join(g.text),
                    "logprobs": logprobs,
                    "finish_reason": finish_reason(g.finish),
                    "matched_stop": g.finish.matched if g.finish else None,
                }
                if self._body.return_token_ids:
                    choice["token_ids"] = g.token_ids
                choices.append(choice)
        timings = tallies[0].timings()
        told = {**self._head, "choices": choices, "usage": usage_of(tallies), "timings": timings}
        return json_response({**told, **warnings_of(self._ignored)}, headers=headers_of(tallies))

    async def stream(self, streams: list[AsyncGenerator[GenerateChunk, None]]) -> AsyncIterator[bytes]:
        tallies = [Tally() for _ in streams]
        options = self._body.stream_options
        with_usage = bool(options and options.include_usage)
        frames = [self._frames(i, s, tallies, with_usage) for i, s in enumerate(streams)]
        async with contextlib.aclosing(merge(frames)) as merged:
            async for frame in merged:
                yield frame
        if with_usage:
            last = {**self._head, "choices": [], "usage": usage_of(tallies), "timings": tallies[0].timings()}
            yield event(_encode(last))
        yield DONE

    async def _frames(
        self, position: int, chunks: AsyncGenerator[GenerateChunk, None], tallies: list[Tally], with_usage: bool
    ) -> AsyncGenerator[bytes, None]:
        options = self._body.stream_options
        usage_always = bool(options and options.continuous_usage_stats)
        lists: dict[int, LegacyLogprobs] = {}

        def frame(index: int, text: str, logprobs: Any, finish: str | None, **more: Any) -> bytes:
            choice = {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish, **more}
            told = {**self._head, "choices": [choice]}
            if usage_always:
                told["usage"] = usage_of(tallies)
            elif with_usage:
                told["usage"] = None
            return event(_encode(told))

        async with contextlib.aclosing(chunks):
            async for chunk in chunks:
                tallies[position].take(chunk)
                index = position * self._n + chunk.index
                text, positions = chunk.text, chunk.logprobs
                if chunk.index not in lists:
                    lists[chunk.index] = LegacyLogprobs(self._tokenizer, self._body.logprobs or 0)
                    text, positions = self._echoed(position) + text, [*chunk.prompt_logprobs, *positions]
                if text or (self._body.logprobs is not None and positions):
                    told = lists[chunk.index].take(positions) if self._body.logprobs is not None else None
                    more = {"token_ids": chunk.token_ids} if self._body.return_token_ids else {}
                    yield frame(index, text, told, None, **more)
                if chunk.finish is not None:
                    yield frame(index, "", None, finish_reason(chunk.finish), matched_stop=chunk.finish.matched)


def _mean_logprob(generation: Generation) -> float:
    values = [p.logprob for p in generation.logprobs if p.logprob is not None]
    return sum(values) / max(1, len(values))


def routes() -> list[Route]:
    return [Route(path="/v1/completions", handler=completions, body=CompletionBody, summary="Complete text")]
