"""The front of an engine: text in, text out; every API and every program's backend goes through it.

Tokenizes, submits, collects what each step brought, decodes, and gives errors their type back. Lives on one event loop.
The engine behind `link` is a scheduler in this process or in another.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncGenerator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from .. import errors
from ..constrained.constraint import Healed
from .adapters import FrontAdapters
from .choice_scores import score_choices
from .generate_request import GenerateChunk, GenerateRequest, PromptPart
from .generation import Generation
from .mailbox import Mailbox
from .messages import (
    Abort,
    AbortAll,
    Control,
    Expected,
    Failed,
    Finish,
    FromEngine,
    Output,
    Outputs,
    Pause,
    Ready,
    Release,
    Reply,
    ToEngine,
)
from .outbox import Outbox
from .prompts import Prompts
from .sessions import Sessions
from .text_stream import TextStream
from .tokenizer.interface import Tokenizer

if TYPE_CHECKING:
    from ..lang.jinja import JinjaChatTemplate

MAX_RID = 256
"""Characters of a request's id."""


class EngineLink(Protocol):
    """The way to a scheduler; what comes back goes to `Front.receive` on the front's loop."""

    def send(self, message: ToEngine) -> None: ...


class Front:
    """One engine's requests. All coroutines and `receive` run on one loop."""

    def __init__(self, link: EngineLink, tokenizer: Tokenizer, info: dict[str, Any]) -> None:
        self.link = link
        self.tokenizer = tokenizer
        self.info = info
        """What /get_model_info tells: model_path, tokenizer_path, max_context, vocab_size, chat_template …"""
        self.template = _template(info, "chat_template")
        self.tool_template = _template(info, "tool_template") or self.template
        """For requests with tools."""
        self.sessions = Sessions(self)
        self.adapters = FrontAdapters(self)
        self._boxes: dict[str, tuple[Mailbox, int]] = {}
        self._parts: dict[str, set[str]] = {}
        """Of the ids that mean several generations: an n > 1, a batch."""
        self._outbox = Outbox(lambda message: self.link.send(message), self._boxes.__contains__, self._refuse)
        self._replies: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._prompts = Prompts(tokenizer, info)
        self._numbers = itertools.count()
        self._prefix = os.urandom(6).hex()
        self._dead: errors.RadixlangError | None = None

    # -- generation

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[GenerateChunk, None]:
        """Chunks of all n generations as they come (one each, at the end, unless `request.stream`).

        Raises a RadixlangError for a request that cannot be served, before its first chunk, or when the engine fails.
        Leaving the iterator early aborts what still runs; that is freed within two steps.
        """
        if self._dead is not None:
            raise self._dead
        request.sampling.check(self.info["vocab_size"])
        await self.adapters.check(request.adapter)
        has_bos = request.add_bos and request.parent is None
        ids = await self.tokenize(request.prompt, add_bos=has_bos)
        healed: tuple[int, str] | None = None
        if request.sampling.heal and request.sampling.max_new_tokens:
            may_be_empty = request.parent is not None
            ids, healed = await self._prompts.heal(request.prompt, ids, add_bos=has_bos, may_be_empty=may_be_empty)
        if not ids and request.parent is None:
            ids = [self.empty_prompt()]
        if request.logprobs is not None:
            prompt_len = request.parent_len + len(ids)
            request.logprobs.check(self.info["vocab_size"], prompt_len, request.sampling.max_new_tokens)
        expects = await self._expected(request)
        rid = request.rid or self.new_id()
        if len(rid) > MAX_RID:
            raise errors.RequestError(f"an id has at most {MAX_RID} characters, found {len(rid)}", param="rid")
        rids = [rid if i == 0 else f"{rid}#{i}" for i in range(request.sampling.n)]
        box = Mailbox(lambda on: self._pause(running, on))
        prefix = healed[1] if healed is not None else ""
        constraint = Healed(prefix, request.constraint) if prefix else request.constraint
        stream = partial(TextStream, self.tokenizer, request.sampling, skip=len(prefix))
        generations = [Generation(i, stream()) for i in range(len(rids))]
        for other in rids:
            if other in self._boxes:
                told = f"a request with id {other!r} is running; ids must be unique"
                raise errors.RequestError(told, param="rid", code="duplicate_request_id")
        wholes = [request.batch] if request.batch else []
        if len(rids) > 1:
            wholes.append(rid)
        running = dict(enumerate(rids))
        for whole in wholes:
            self._parts.setdefault(whole, set()).update(rids)
        for index, other in running.items():
            self._boxes[other] = (box, index)
        try:
            group = rid if len(rids) > 1 else request.group
            call = f"{request.client}/{request.program}" if request.program else request.call or rid
            submits = [
                request.submit(other, ids, constraint, index=index, group=group, call=call)
                for index, other in running.items()
            ]
            submits[0] = msgspec.structs.replace(submits[0], expects=expects) if expects else submits[0]
            if request.gather is None:
                self._outbox.send(submits)
            else:
                self._outbox.add(submits, request.group, request.gather)
            while running:
                index, output = await box.get()
                finish = output.finish
                if finish is not None:
                    running.pop(index, None)
                    if finish.type == "error":
                        raise error_of(finish)
                chunk = generations[index].take(output, healed)
                chunk.is_followed = box.has_more
                yield chunk
        finally:
            for other in rids:
                self._boxes.pop(other, None)
            for whole in wholes:
                self._parts[whole].difference_update(rids)
                if not self._parts[whole]:
                    del self._parts[whole]
            for other in running.values():
                self.link.send(Abort(rid=other, reason="the client went away"))

    async def _expected(self, request: GenerateRequest) -> tuple[Expected, ...]:
        """What is to be held for later streams, as ids; what cannot be a prompt is left out."""
        found = []
        for each in request.expects:
            with contextlib.suppress(errors.RequestError):
                ids = await self.tokenize(each.prompt_parts, add_bos=request.add_bos)
                found.append(Expected(each.keep, ids, each.next_use))
        return tuple(found)

    def _pause(self, running: dict[int, str], on: bool) -> None:
        with contextlib.suppress(errors.RadixlangError):  # an engine that is gone needs no rest
            for rid in running.values():
                self.link.send(Pause(rid=rid, on=on))

    async def score_choices(
        self,
        prompt_parts: Sequence[PromptPart],
        choices: Sequence[str],
        *,
        unconditional: bool,
        client: str = "",
        program: str = "",
        adapter: str = "",
        call: str = "",
    ) -> dict[str, Any]:
        """Log-probabilities of each choice as the continuation of the prompt: see choice_scores. `call`: see
        GenerateRequest."""
        whose = {"client": client, "program": program, "adapter": adapter, "call": call}
        return await score_choices(self, prompt_parts, choices, unconditional=unconditional, **whose)

    # -- text to ids

    async def tokenize(self, parts: Sequence[PromptPart], *, add_bos: bool = True) -> list[int]:
        """Ids of a prompt: see Prompts."""
        return await self._prompts.tokenize(parts, add_bos=add_bos)

    def empty_prompt(self) -> int:
        """The token that stands before everything, for prompts without any."""
        return self._prompts.empty

    def new_id(self) -> str:
        return f"{self._prefix}-{next(self._numbers)}"

    # -- control

    async def abort(self, rid: str) -> None:
        """Ends the request of exactly this id, all of its n, or the batch of this id; unknown ids do nothing."""
        if len(rid) > MAX_RID:  # nobody's
            return
        for other in sorted({rid, *self._parts.get(rid, ())}):
            self.link.send(Abort(rid=other))

    async def abort_all(self) -> None:
        self.link.send(AbortAll())

    async def release(self, paths: list[str]) -> None:
        """Drops kept paths."""
        if paths:
            self.link.send(Release(streams=paths))

    async def flush_cache(self) -> bool:
        """Drops everything from the prefix cache that no running request holds."""
        return bool((await self.control("flush")).get("success", True))

    async def stats(self) -> dict[str, Any]:
        """The scheduler's gauges and counters, one consistent snapshot."""
        return await self.control("stats")

    async def ask(self, action: str, data: dict[str, Any]) -> dict[str, Any]:
        """What the engine answers to a question of scheduler/inspect.py. Raises RequestError for one that it cannot."""
        answer = await self.control(action, data)
        if answer.get("success", True):
            return answer
        raise errors.RequestError(str(answer.get("error")), code=str(answer.get("code") or "bad_request"))

    async def control(self, action: str, data: dict[str, Any] | None = None, timeout_s: float = 30.0) -> dict[str, Any]:
        """The engine's answer to a Control. Raises EngineDead, TimeoutError."""
        if self._dead is not None:
            raise self._dead
        key = self.new_id()
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._replies[key] = future
        try:
            self.link.send(Control(id=key, action=action, data=data or {}))
            return await asyncio.wait_for(future, timeout_s)
        finally:
            self._replies.pop(key, None)

    # -- what comes back

    def receive(self, message: FromEngine) -> None:
        """One message of the engine; on the front's loop."""
        if isinstance(message, Outputs):
            boxes = self._boxes
            for output in message.items:
                found = boxes.get(output.rid)
                if found is not None:
                    found[0].put(found[1], output)
        elif isinstance(message, Reply):
            future = self._replies.get(message.id)
            if future is not None and not future.done():
                future.set_result(message.data)
        elif isinstance(message, Failed):
            self.fail(errors.EngineDead(message.message))
        else:
            assert isinstance(message, Ready)
            self._dead = None
            self.adapters.follow(message.info)

    def fail(self, error: errors.RadixlangError) -> None:
        """The engine is gone: all that is in flight is answered with `error`, and new requests until `Ready`."""
        self._dead = error
        for rid in list(self._boxes):
            self._refuse(rid, error)
        for future in self._replies.values():
            if not future.done():
                future.set_exception(error)

    def _refuse(self, rid: str, error: errors.RadixlangError) -> None:
        """Answers a request that the engine will not."""
        box, index = self._boxes[rid]
        finish = Finish(type="error", message=error.message, status=error.status, code=error.code, param=error.param)
        box.put(index, Output(rid=rid, token_ids=[], finish=finish))

    @property
    def num_open(self) -> int:
        """Generations not yet answered whole."""
        return len(self._boxes)

    def health(self) -> dict[str, Any]:
        """{"ready": bool, "reason": str}: what /health tells."""
        return {"ready": self._dead is None, "reason": "" if self._dead is None else self._dead.message}


def _template(info: dict[str, Any], name: str) -> JinjaChatTemplate | None:
    """A chat template of the model's own, if it has one."""
    if not info.get(name):
        return None
    from ..lang.jinja import JinjaChatTemplate  # jinja2 is not needed for models without

    return JinjaChatTemplate(info[name], bos_token=info.get("bos_token") or "", eos_token=info.get("eos_token") or "")


def error_of(finish: Finish) -> errors.RadixlangError:
    """The exception that an error finish stands for: its status, code and param survive the process border."""
    kinds: dict[int, type[errors.RadixlangError]] = {404: errors.ModelNotFound, 499: errors.Aborted}
    if finish.status in (429, 503) and finish.code != errors.EngineDead.code:
        return errors.OverloadedError(finish.message, status=finish.status, code=finish.code)
    if finish.status == 503:
        return errors.EngineDead(finish.message)
    if finish.status == 400 and (finish.code or "").endswith(("_schema", "grammar_too_large")):
        kind: type[errors.RadixlangError] = errors.GrammarError
    else:
        kind = kinds.get(finish.status, errors.RequestError if finish.status < 500 else errors.InternalError)
    return kind(finish.message, param=finish.param, code=finish.code)
