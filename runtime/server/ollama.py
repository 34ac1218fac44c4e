"""Ollama's /api/chat and /api/generate: newline-delimited JSON, streamed unless asked not to."""

from __future__ import annotations

import contextlib
import datetime
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

import msgspec

from ...constrained.fields import find_constraint
from ...errors import PromptTooLong, RequestError, UnsupportedContent
from ..generate_request import GenerateChunk, GenerateRequest
from ..messages import LogprobRequest
from ..sampling_params import SamplingParams
from .conversation import obliged, shown
from .errors import error_body
from .generation import Generation, Tally, chunks_of, finish_reason, gather
from .http import Answer, EventStream, Request, convert, json_response
from .messages import prompt_ids, render, template_messages
from .openai_fields import check_top_logprobs
from .openai_logprobs import chat_logprobs
from .reasoning import Thinking
from .route import Route
from .service import Service
from .tools.plan import ToolPlan, plan_tools, read
from .tools.stream import ToolStream

_encode = msgspec.json.Encoder().encode
_OPTIONS = {
    "temperature": "temperature", "top_k": "top_k", "top_p": "top_p", "min_p": "min_p", "seed": "sampling_seed",
    "repeat_penalty": "repetition_penalty", "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
}  # fmt: skip
_DEFAULTS = {"temperature": 0.8, "top_k": 40, "top_p": 0.9}


class Options(msgspec.Struct):
    """Ollama's model options that are honoured; others are named in x-radixlang-ignored."""

    num_predict: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    repeat_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None


class OllamaBody(msgspec.Struct, kw_only=True):
    """What chat and generate share."""

    model: str | None = None
    stream: bool | None = None
    format: Any = None
    options: dict[str, Any] | None = None
    keep_alive: Any = None
    """The one model stays loaded."""
    think: bool | str | None = None
    """Whether the model thinks, where its template can be told; what it thought is told apart unless false."""
    truncate: bool | None = None
    """Drop the begin of a prompt that is too long, or a chat's oldest messages, and say how many tokens or messages
    in the last object (prompt_truncated); default: refuse it."""
    debug_render_only: bool | None = msgspec.field(default=None, name="_debug_render_only")
    """Answer with the prompt."""
    logprobs: bool | None = None
    top_logprobs: int | None = None


class OllamaChatBody(OllamaBody, kw_only=True):
    messages: list[Any] | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None


class OllamaGenerateBody(OllamaBody, kw_only=True):
    prompt: str | None = None
    system: str | None = None
    raw: bool | None = None
    context: list[int] | None = None
    suffix: str | None = None
    template: str | None = None
    images: list[Any] | None = None


async def chat(service: Service, request: Request) -> Answer:
    """POST /api/chat."""
    body = await request.struct(OllamaChatBody)
    service.adapter_of(body.model)
    if not body.messages:
        return json_response(_loaded(service, body, {"message": {"role": "assistant", "content": ""}}))
    plan = plan_tools(body.tools, body.tool_choice, form=service.tool_form)
    messages = template_messages([_openai_message(m, i) for i, m in enumerate(body.messages)])
    ids, num_cut = await _chat_ids(service, body, messages, plan)

    def wrap(content: str, calls: list[dict[str, Any]] | None = None, thought: str = "") -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": content}
        if thought:
            message["thinking"] = thought
        if calls:
            message["tool_calls"] = calls
        return {"message": message}

    return await _answer(service, request, body, ids, plan, wrap, keeps_context=False, num_cut=num_cut)


async def _chat_ids(
    service: Service, body: OllamaChatBody, messages: list[dict[str, Any]], plan: ToolPlan | None
) -> tuple[list[int], int]:
    """The prompt, and how many of the oldest messages it lacks because they do not fit (system messages stay)."""
    system = [m for m in messages if m["role"] == "system"]
    rest = [m for m in messages if m["role"] != "system"]

    async def without(count: int) -> list[int]:
        kept = [*system, *rest[count:]] if count else messages
        return await prompt_ids(service, kept, plan, kwargs=_variables(service, body))

    try:
        return await without(0), 0
    except PromptTooLong:
        if not body.truncate or len(rest) < 2:
            raise
    low, high = 1, len(rest) - 1
    while low < high:
        middle = (low + high) // 2
        try:
            await without(middle)
            high = middle
        except PromptTooLong:
            low = middle + 1
    return await without(low), low


async def generate(service: Service, request: Request) -> Answer:
    """POST /api/generate."""
    body = await request.struct(OllamaGenerateBody)
    service.adapter_of(body.model)
    for name in ("suffix", "template"):
        if getattr(body, name):
            raise RequestError(f"{name} is not served here; drop it", param=name)
    if body.images:
        raise UnsupportedContent("this model takes text only; drop images", param="images")
    if not body.prompt:
        return json_response(_loaded(service, body, {"response": ""}))
    if body.raw or service.front.template is None:
        text = body.prompt
    else:
        system = [{"role": "system", "content": body.system}] if body.system else []
        turns = [*system, {"role": "user", "content": body.prompt}]
        text = render(service.front, turns, kwargs=_variables(service, body))
    parts: list[str | list[int]] = [body.context, text] if body.context else [text]
    ids = await service.front.tokenize(parts)
    if len(ids) >= service.max_context and not body.truncate:
        raise PromptTooLong(len(ids) + 1, service.max_context, param="prompt")

    def wrap(content: str, calls: object = None, thought: str = "") -> dict[str, Any]:
        return {"response": content, "thinking": thought} if thought else {"response": content}

    num_cut = 0
    if len(ids) >= service.max_context:  # half of the context is left for the answer
        num_cut = len(ids) - service.max_context // 2
        ids = ids[num_cut:]
    return await _answer(service, request, body, ids, None, wrap, keeps_context=True, num_cut=num_cut)


def _variables(service: Service, body: OllamaBody) -> dict[str, Any] | None:
    """`think` as the template's variable, where it knows one."""
    template = service.front.template
    if not isinstance(body.think, bool) or template is None or "enable_thinking" not in template.source:
        return None
    return {"enable_thinking": body.think}


def _openai_message(message: Any, index: int) -> Any:
    """Ollama's message in OpenAI's shape: arguments are objects here, images beside the text."""
    if not isinstance(message, dict):
        return message
    if message.get("images"):
        raise UnsupportedContent("this model takes text only; drop images", param=f"messages.{index}.images")
    told = {k: v for k, v in message.items() if k not in ("images", "thinking")}
    if message.get("tool_name") and "name" not in message:
        told["name"] = message["tool_name"]
    return told


def _loaded(service: Service, body: OllamaBody, fields: dict[str, Any]) -> dict[str, Any]:
    """The answer to a request without a prompt, which asks to load the model: it is."""
    assert service.front is not None
    return {
        "model": body.model or service.model_name,
        "created_at": _now(),
        **fields,
        "done": True,
        "done_reason": "load",
    }


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat().replace("+00:00", "Z")


def _sampling(service: Service, request: Request, body: OllamaBody, prompt_len: int) -> SamplingParams:
    try:
        options = convert(body.options or {}, Options)
        request.note_ignored(body.options or {}, Options, "options.")
        given: dict[str, Any] = _DEFAULTS | service.sampling_defaults
        for name, ours in _OPTIONS.items():
            value = getattr(options, name)
            if value is not None:
                given[ours] = value
        if options.stop:
            given["stop"] = (options.stop,) if isinstance(options.stop, str) else tuple(options.stop)
        wanted = options.num_predict
        room = max(1, service.max_context - prompt_len)
        given["max_new_tokens"] = room if wanted is None or wanted < 0 else min(wanted, room)
        sampling = SamplingParams(**given)
        sampling.check(service.vocab_size)
    except RequestError as error:
        error.param = f"options.{error.param}"
        raise
    return sampling


async def _answer(
    service: Service,
    request: Request,
    body: OllamaBody,
    ids: list[int],
    plan: ToolPlan | None,
    wrap: Callable[..., dict[str, Any]],
    *,
    keeps_context: bool,
    num_cut: int,
) -> Answer:
    front = service.front
    if body.debug_render_only:
        text = front.tokenizer.decode(ids, skip_special_tokens=False)
        head = {"model": body.model or service.model_name, "created_at": _now()}
        return json_response({**head, "_debug_info": {"rendered_template": text}})
    num_top = check_top_logprobs(bool(body.logprobs), body.top_logprobs)
    sampling = _sampling(service, request, body, len(ids))
    service.check_fields(request)
    found = find_constraint({"format": body.format}) if body.format is not None else None
    found, thinking = obliged(service, ids, plan, found, shows_thoughts=body.think is False)
    streams = body.stream is not False
    call = GenerateRequest(
        prompt=[ids],
        sampling=shown(sampling, plan, thinking),
        constraint=found.constraint if found else None,
        logprobs=LogprobRequest(output=True, num_top=num_top) if body.logprobs else None,
        stream=streams,
        client=request.client,
        adapter=service.adapter_of(body.model),
        timeout_s=service.timeout(None),
        add_bos=False,
    )
    writer = _Lines(service, body, plan, wrap, ids if keeps_context else None, num_top, thinking, num_cut)
    chunks = chunks_of(front, call, prompt_param="prompt", found=found)
    if streams:
        return EventStream(
            writer.stream(chunks),
            content_type="application/x-ndjson",
            keep_alive=b"",
            on_error=lambda error: error_body(error, "ollama") + b"\n",
        )
    return await request.guard(writer.whole(chunks))


class _Lines:
    """Ollama's objects of one request."""

    def __init__(
        self, service: Service, body: OllamaBody, plan: ToolPlan | None, wrap: Callable[..., dict[str, Any]],
        context: list[int] | None, num_top: int, thinking: Thinking | None, num_cut: int,
    ) -> None:  # fmt: skip
        self._thinking = thinking
        self._num_cut = num_cut
        self._tokenizer = service.front.tokenizer
        self._model = body.model or service.model_name
        self._logprobs = bool(body.logprobs)
        self._plan = plan
        self._wrap = wrap
        self._context = context
        self._num_top = num_top
        self._started = time.perf_counter_ns()

    def _told_logprobs(self, part: GenerateChunk | Generation) -> dict[str, Any]:
        if not self._logprobs or not part.logprobs:
            return {}
        return {"logprobs": chat_logprobs(self._tokenizer, part.logprobs, self._num_top)["content"]}

    def _last(self, tally: Tally, reason: str | None, ids: list[int]) -> dict[str, Any]:
        total = time.perf_counter_ns() - self._started
        times = tally.timings()
        prompt = int(times["ttft_ms"] * 1e6)
        told: dict[str, Any] = {
            "done": True, "done_reason": reason, "total_duration": total, "load_duration": 0,
            "prompt_eval_count": tally.prompt_len, "prompt_eval_duration": prompt,
            "eval_count": tally.completion_len, "eval_duration": max(0, total - prompt),
        }  # fmt: skip
        if self._num_cut:
            told["prompt_truncated"] = self._num_cut
        if self._context is not None:
            told["context"] = [*self._context, *ids]
        return told

    async def whole(self, chunks: AsyncIterator[GenerateChunk]) -> Answer:
        tally = Tally()
        (generation,), _ = await gather(chunks, 1, tally)
        said, thought = "".join(generation.text), ""
        if self._thinking is not None:
            thought, said = self._thinking.reader().push(said, is_last=True)
        text, found = read(said, self._plan)
        calls = [{"function": {"name": c.name, "arguments": _object(c.arguments)}} for c in found]
        head = {"model": self._model, "created_at": _now(), **self._wrap(text, calls, thought)}
        last = self._last(tally, finish_reason(generation.finish), generation.token_ids)
        return json_response({**head, **self._told_logprobs(generation), **last})

    async def stream(self, chunks: AsyncGenerator[GenerateChunk, None]) -> AsyncIterator[bytes]:
        tally, tools, ids, written = Tally(), ToolStream(self._plan) if self._plan is not None else None, [], ""
        reader = self._thinking.reader() if self._thinking is not None else None
        async with contextlib.aclosing(chunks):
            async for chunk in chunks:
                tally.take(chunk)
                ids += chunk.token_ids
                text, thought = chunk.text, ""
                if reader is not None:
                    thought, text = reader.push(text, is_last=chunk.finish is not None)
                if tools is not None:
                    written += text
                    deltas = tools.take(text, is_last=chunk.finish is not None)
                    text = "".join(d.get("content", "") for d in deltas)
                head = {"model": self._model, "created_at": _now()}
                if text or thought or (self._logprobs and chunk.logprobs):
                    wrapped = self._wrap(text, None, thought)
                    yield _encode({**head, **wrapped, **self._told_logprobs(chunk), "done": False}) + b"\n"
                if chunk.finish is not None:
                    if tools is not None and self._plan is not None and tools.num_calls:
                        found = read(written, self._plan).calls
                        calls = [{"function": {"name": c.name, "arguments": _object(c.arguments)}} for c in found]
                        yield _encode({**head, **self._wrap("", calls), "done": False}) + b"\n"
                    last = self._last(tally, finish_reason(chunk.finish), ids)
                    yield _encode({**head, **self._wrap(""), **last}) + b"\n"


def _object(arguments: str) -> Any:
    """Arguments as an object; what was cut off stays text."""
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments


def routes() -> list[Route]:
    return [
        Route(path="/api/chat", handler=chat, body=OllamaChatBody, style="ollama", summary="Chat (Ollama)"),
        Route(
            path="/api/generate", handler=generate, body=OllamaGenerateBody, style="ollama", summary="Generate (Ollama)"
        ),
    ]
