"""SGLang's native API: /generate, /encode, choices, caches and aborts."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec

from ...errors import PromptTooLong, RequestError
from .. import native_api, native_run
from ..generate_request import PromptPart
from .http import Answer, EventStream, Request, json_response, text_response
from .route import Route
from .service import Service
from .streaming import DONE, event

_encode = msgspec.json.Encoder().encode


class ChoicesBody(msgspec.Struct):
    """Continuations to score."""

    choices: list[str]
    text: str | None = None
    prompt_parts: list[str | list[int]] | None = None
    unconditional: bool = False
    """Also score each choice by itself."""
    lora_path: str | None = None
    """The adapter that scores them."""
    program_id: native_api.ProgramId | None = None
    """As in /generate."""


class AbortBody(msgspec.Struct):
    """Exactly this request, or all."""

    rid: str | None = None
    abort_all: bool = False


class EncodeBody(msgspec.Struct):
    """Texts whose final hidden state is wanted."""

    text: str | list[str] | None = None
    input_ids: list[int | list[int]] | None = None
    model: str | None = None
    lora_path: str | None = None


class ReleaseBody(msgspec.Struct):
    """Kept paths to drop."""

    paths: list[str]


async def generate(service: Service, request: Request) -> Answer:
    """POST /generate."""
    front = service.front
    data = await request.json_object()
    body = native_api.convert(data)
    request.note_ignored(data, native_api.NativeBody)
    service.check_fields(request)
    call = native_api.parse(body, client=request.client)
    for one in call.requests:
        one.timeout_s = service.timeout(one.timeout_s)
    if not call.stream:
        with _placed(body):
            return json_response(await request.guard(native_run.whole(front, call)))

    async def frames() -> AsyncIterator[bytes]:
        with _placed(body):
            async with contextlib.aclosing(native_run.stream(front, call)) as bodies:
                async for piece in bodies:
                    yield event(_encode(piece))
        yield DONE

    return EventStream(frames())


@contextlib.contextmanager
def _placed(body: native_api.NativeBody) -> Iterator[None]:
    """Gives errors the path of the request's field: the engine knows ids."""
    try:
        yield
    except RequestError as error:
        if error.code == PromptTooLong.code and body.text is not None:
            error.param = "text"
        raise


async def score_choices(service: Service, request: Request) -> Answer:
    """POST /score_choices: log-probabilities of continuations of one prompt, comparable with each other."""
    front = service.front
    body = await request.struct(ChoicesBody)
    service.check_fields(request)
    if (body.text is None) == (body.prompt_parts is None):
        raise RequestError("give text or prompt_parts, one of them", param="text")
    if len(body.choices) > native_api.MAX_BATCH:
        raise RequestError(f"at most {native_api.MAX_BATCH} choices a request", param="choices")
    parts: list[PromptPart] = [body.text] if body.text is not None else list(body.prompt_parts or [])
    work = front.score_choices(
        parts,
        body.choices,
        unconditional=body.unconditional,
        client=request.client,
        program=body.program_id or "",
        adapter=body.lora_path or "",
    )
    return json_response(await request.guard(work))


async def encode(service: Service, request: Request) -> Answer:
    """POST /encode: the final hidden state of the last token of each prompt."""
    front = service.front
    body = await request.struct(EncodeBody)
    service.check_fields(request)
    call = hidden_call(service, body.text, body.input_ids, request.client, adapter=body.lora_path or "")
    answers = await request.guard(native_run.whole(front, call))
    shaped = [{"embedding": a["embedding"], "meta_info": a["meta_info"]} for a in as_list(answers)]
    return json_response(shaped if call.is_batch else shaped[0])


def hidden_call(
    service: Service, text: str | list[str] | None, ids: list[int | list[int]] | None, client: str, *, adapter: str
) -> native_api.NativeCall:
    """A call that computes prompts only and reports the final hidden state of their last token."""
    sampling = native_api.NativeSampling(max_new_tokens=0, temperature=0.0)
    call = native_api.parse(native_api.NativeBody(text=text, input_ids=ids, sampling_params=sampling), client=client)
    for one in call.requests:
        one.want_hidden = True
        one.adapter = adapter
        one.timeout_s = service.timeout(None)
    return call


def as_list(answers: dict[str, Any] | list[dict[str, Any]]) -> list[dict[str, Any]]:
    return answers if isinstance(answers, list) else [answers]


async def flush_cache(service: Service, request: Request) -> Answer:
    """GET or POST /flush_cache."""
    done = await service.front.flush_cache()
    if done:
        return text_response("Cache flushed.\n")
    return text_response("The cache is in use; what running requests hold stays.\n", status=400)


async def abort_request(service: Service, request: Request) -> Answer:
    """POST /abort_request. Unknown ids are no error: the request may have ended just now."""
    body = await request.struct(AbortBody)
    if not body.rid and not body.abort_all:
        raise RequestError("give the rid of the request to abort, or abort_all", param="rid")
    if body.abort_all:
        await service.front.abort_all()
    else:
        assert body.rid is not None
        await service.front.abort(body.rid)
    return json_response({"success": True})


async def release(service: Service, request: Request) -> Answer:
    """POST /release_paths: drops what `keep` of /generate kept."""
    body = await request.struct(ReleaseBody)
    await service.front.release(body.paths)
    return json_response({"success": True})


def routes() -> list[Route]:
    both: Any = ("POST", "PUT")
    return [
        Route(path="/generate", handler=generate, methods=both, body=native_api.NativeBody, summary="Generate text"),
        Route(path="/score_choices", handler=score_choices, body=ChoicesBody, summary="Score continuations"),
        Route(path="/encode", handler=encode, methods=both, body=EncodeBody, summary="Hidden states"),
        Route(
            path="/flush_cache", handler=flush_cache, methods=("GET", "POST"), is_admin=True, summary="Empty the cache"
        ),
        Route(path="/abort_request", handler=abort_request, body=AbortBody, is_admin=True, summary="Abort requests"),
        Route(path="/release_paths", handler=release, body=ReleaseBody, summary="Drop kept paths"),
    ]
