"""Text to ids and back, with the field names of SGLang, vLLM and llama.cpp."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import msgspec

from ...errors import RequestError
from ..prompts import LONG_TEXT
from .http import Answer, Request, json_response
from .messages import prompt_ids, render, template_messages
from .route import Route
from .service import Service
from .tools.plan import plan_tools


class TokenizeBody(msgspec.Struct):
    """`prompt` (SGLang, vLLM), `content` (llama.cpp) or `messages` (vLLM)."""

    prompt: str | list[str] | None = None
    content: str | None = None
    text: str | list[str] | None = None
    messages: list[Any] | None = None
    model: str | None = None
    add_special_tokens: bool | None = None
    add_special: bool | None = None
    with_pieces: bool | None = None
    return_token_strs: bool | None = None


class DetokenizeBody(msgspec.Struct):
    """Ids, one list or several."""

    tokens: list[int | list[int]] | None = None
    model: str | None = None
    skip_special_tokens: bool | None = None


async def tokenize(service: Service, request: Request) -> Answer:
    """POST /tokenize: SGLang's answer, `pieces` in llama.cpp's form when asked `with_pieces`."""
    front = service.front
    body = await request.struct(TokenizeBody)
    service.adapter_of(body.model)
    special = body.add_special_tokens
    if body.messages is not None:
        texts, is_batch = [render(front, template_messages(body.messages))], False
        special = False
    else:
        given = next((v for v in (body.prompt, body.content, body.text) if v is not None), None)
        if given is None:
            raise RequestError("give prompt, content or messages", param="prompt")
        texts, is_batch = (given, True) if isinstance(given, list) else ([given], False)
        if special is None:  # llama.cpp's default is false, the others' true
            special = bool(body.add_special) if body.content is not None else True
    tokens = [await front.tokenize([text], add_bos=special) for text in texts]
    if body.with_pieces:
        pieces = [[{"id": i, "piece": front.tokenizer.token_text(i)} for i in ids] for ids in tokens]
        return json_response({"tokens": pieces if is_batch else pieces[0]})
    counts = [len(ids) for ids in tokens]
    told: dict[str, Any] = {
        "tokens": tokens if is_batch else tokens[0],
        "count": counts if is_batch else counts[0],
        "max_model_len": service.max_context,
    }
    if body.return_token_strs:
        names = [[front.tokenizer.token_text(i) for i in ids] for ids in tokens]
        told["token_strs"] = names if is_batch else names[0]
    return json_response(told)


class RenderBody(msgspec.Struct):
    """A chat request; only what shapes the prompt is read."""

    messages: list[Any] | None = None
    model: str | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    chat_template_kwargs: dict[str, Any] | None = None
    continue_final_message: bool | None = None


async def render_chat(service: Service, request: Request) -> Answer:
    """POST /v1/chat/completions/render and /apply-template: the prompt that a chat request would have."""
    body = await request.struct(RenderBody)
    service.adapter_of(body.model)
    ids = await prompt_ids(
        service,
        template_messages(body.messages),
        plan_tools(body.tools, body.tool_choice, form=service.tool_form),
        kwargs=body.chat_template_kwargs,
        continue_final_message=bool(body.continue_final_message),
    )
    text = service.front.tokenizer.decode(ids, skip_special_tokens=False)
    return json_response({"prompt": text, "prompt_token_ids": ids})


async def detokenize(service: Service, request: Request) -> Answer:
    """POST /detokenize: the text under SGLang's (text), vLLM's (prompt) and llama.cpp's (content) name."""
    front = service.front
    body = await request.struct(DetokenizeBody)
    service.adapter_of(body.model)
    given: Any = body.tokens
    if given is None:
        raise RequestError("give tokens", param="tokens")
    is_batch = bool(given) and isinstance(given[0], list)
    if any(isinstance(part, list) != is_batch for part in given):
        raise RequestError("tokens mixes ids and lists of ids; give one kind", param="tokens")
    texts = []
    for ids in given if is_batch else [given]:
        checked = await front.tokenize([ids])
        decode = partial(front.tokenizer.decode, skip_special_tokens=bool(body.skip_special_tokens))
        texts.append(decode(checked) if len(checked) < LONG_TEXT else await asyncio.to_thread(decode, checked))
    text = texts if is_batch else texts[0]
    return json_response({"text": text, "prompt": text, "content": text})


def routes() -> list[Route]:
    named = (
        ("tokenize", tokenize, TokenizeBody, "Text to ids"),
        ("detokenize", detokenize, DetokenizeBody, "Ids to text"),
    )
    return [
        *(
            Route(path=f"{prefix}/{name}", handler=handler, body=kind, summary=told)
            for prefix in ("", "/v1")
            for name, handler, kind, told in named
        ),
        *(
            Route(path=path, handler=render_chat, body=RenderBody, summary="The prompt of a chat")
            for path in ("/v1/chat/completions/render", "/apply-template")
        ),
    ]
