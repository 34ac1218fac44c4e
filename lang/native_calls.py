"""Calls of a NativeBackend: one stream's token path, and the requests that extend it."""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import Aborted, RadixlangError, UnsupportedContent
from .backend.base_backend import NativeBackend
from .best_of import Pick
from .choices import (
    ChoicesDecision,
    ChoicesSamplingMethod,
    ConstrainedDecoding,
    mean_logprob,
    sample_option,
    token_length_normalized,
    total_logprob,
)
from .kept_path import Base, KeptPath
from .names import new_name
from .sampling import SglSamplingParams
from .token_path import Kept, Part, TokenPath, kept_of

if TYPE_CHECKING:
    from .ir import SglSelect
    from .stream_executor import StreamExecutor

logger = logging.getLogger(__name__)

UNKNOWN_PATH = "unknown_stream"
"""Code of the error for a kept path that the engine does not know any more."""

OnPiece = Callable[[str, dict[str, Any]], None]

_PER_TOKEN = ("output_token_logprobs", "output_top_logprobs", "output_token_ids_logprobs")


class NativeCalls:
    """What a stream asks of a NativeBackend."""

    def __init__(self, stream: StreamExecutor, backend: NativeBackend, path: TokenPath | None = None) -> None:
        self.stream = stream
        self.backend = backend
        self.path = path or TokenPath()
        self.committed = 0
        """Length of the program's text that a call has already computed."""
        self._last: tuple[int, Part | None] = (0, None)
        self._base: Base | None = None
        """The end of the last generation, where the engine keeps it: a stable token boundary."""
        self.is_last = False
        """Nothing will go on from the next generation: the engine need not keep it."""
        self.next_use: int | None = None
        """Calls of the run until something goes on from the next generation, where that is known."""
        self.expected: KeptPath | None = None
        """What is known of how this stream begins, in the engine's cache until the stream's first call goes out."""
        self._group: dict[str, Any] = {}
        """Of the fork that this branch began at, until its first call: the branches' first calls are one unit."""
        self._shared: KeptPath | None = None
        """The fork's text in the engine's cache, held until the first call has used it."""

    def expect(self, text: str, steps: int) -> KeptPath:
        """A stream of the run will begin with `text`, and ask after `steps` calls: what of it is cached is held."""
        kept = KeptPath(self.backend, self.stream.run.loop)
        self.stream.run.expects.append({"keep": kept.name, "prompt_parts": [text], "next_use": steps})
        return kept

    def append_text(self, text: str) -> None:
        self.path.append_text(text)

    def append_answer(self, text: str) -> None:
        """A generation's text that did not come from the backend."""
        self._last = (self.path.mark(), self.path.last())
        self.path.append_text(text)

    def replace_last(self, text: str) -> None:
        """The last generation's text was rewritten to `text`."""
        self._base = None
        self.path.restore(*self._last)
        self.path.append_text(text)

    def branch(self, child: StreamExecutor) -> NativeCalls:
        calls = NativeCalls(child, self.backend, self.path.fork())
        calls.committed = self.committed
        calls._base = self._base
        return calls

    def begin_branches(self, branches: Sequence[NativeCalls], ready: Sequence[NativeCalls] = ()) -> None:
        """Text that no call has seen is computed once, ahead of all `branches`, and kept until each has begun.

        Waits for nothing: the request goes out before theirs, in one group with them, so that the engine takes all of
        them into one step, where what the first computes is there for the others. `ready`: those that are known to ask
        at once, so that the others need not guess whether to wait for them.
        """
        group: dict[str, Any] = {"group": new_name()}
        together = {**group, "group_len": len(ready) + (self.committed < len(self.stream.text_))}
        kept: KeptPath | None = None
        if self.committed < len(self.stream.text_):
            self.committed = len(self.stream.text_)
            request: dict[str, Any] = {
                "prompt_parts": self.path.parts(),
                "sampling_params": {"max_new_tokens": 0, "temperature": 0.0},
                **(together if ready else group),
                **self._adapter(),
            }
            base = self._base
            if base is not None:
                request |= base.extend(request["prompt_parts"])
            if self.backend.keeps_paths:
                kept = KeptPath(self.backend, self.stream.run.loop)
                request["keep"] = kept.name
            self.stream.run.usage.add({}, requests=0)
            self.stream.run.start(lambda: self._compute(request, base, kept))
        for branch in branches:
            branch.committed = self.committed
            branch._group, branch._shared = together if branch in ready else group, kept

    async def _compute(self, request: dict[str, Any], *paths: object) -> None:
        """`paths`: what must not be released before the engine has answered."""
        try:
            await self._collect(self._named(request), 1, None)
        except RadixlangError as error:  # the branches' own calls will meet it, and report it where it is read
            logger.debug("the prefix of a fork was not computed ahead: %s", error)
        del paths

    async def add_image(self, context: contextvars.Context) -> None:
        info = await self.backend.native_model_info()
        if not info.get("has_image_understanding"):
            raise UnsupportedContent(f"{info.get('model_path', 'this model')} takes text alone, no images and no video")

    async def end(self) -> None:
        """Nothing more will be asked: the engine may forget the stream's path."""
        self._base = self._shared = self.expected = None

    def _adapter(self) -> dict[str, str]:
        """What run() says, for calls that are no gen's."""
        adapter = self.stream.default_sampling_para.lora_path
        return {} if adapter is None else {"lora_path": adapter}

    def _named(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"rid": new_name(), "stream": False, "stream_deltas": True, **self._program(), **request}

    def _program(self) -> dict[str, str]:
        """Whose call it is: one id for all streams of the run."""
        return {"program_id": self.stream.run.program_id} if self.backend.counts_programs else {}

    async def generate(
        self,
        params: SglSamplingParams,
        context: contextvars.Context,
        on_piece: OnPiece | None,
        pick: Pick | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """(value, meta): a list for n > 1, whose first entry the path follows and `on_piece` sees.

        pick: the one of n that is the value, and that the path follows.
        """
        num = params.n or 1
        request, kept = self._request(params)
        request["stream"] = on_piece is not None
        if params.heal and not isinstance(self.path.last(), str):
            self._base = None  # its last tokens may be given up
        results = await self._ask(request, num, on_piece)
        self._shared = None
        first = results[0 if pick is None else pick([r.text for r in results], [r.meta for r in results])]
        _check_finish(first.meta)
        self._last = (self.path.mark(), self.path.last())
        added = kept_of(first.token_ids, first.text, first.meta, await self._end_token_ids())
        if added.token_ids and first.meta.get("healed_tokens"):
            self.path.give_up(first.meta["healed_tokens"], first.meta["healed_text"])
        self.path.append_generated(Kept(added.token_ids, ""))
        if kept is not None:
            num_tokens = int(first.meta["prompt_tokens"]) + len(added.token_ids)
            self._base = Base(kept, num_tokens, len(self.path)) if added.token_ids else self._base
        self.path.append_text(added.rest)
        self.committed = len(self.stream.text_) + (0 if on_piece is not None else len(first.text))
        if num == 1:
            return first.text, first.meta
        meta = {**first.meta, "completions": [r.meta for r in results]}
        return (first.text if pick is not None else [r.text for r in results]), meta

    def _request(self, params: SglSamplingParams) -> tuple[dict[str, Any], KeptPath | None]:
        """The request that continues the path, and the name under which its end is kept."""
        request: dict[str, Any] = {
            "prompt_parts": self.path.parts(),
            "sampling_params": params.to_srt_kwargs(),
            **params.request_fields(),
        }
        if self.stream.images_:
            request["image_data"] = [data for _, data in self.stream.images_]
        keeps = self.backend.keeps_paths and (params.n or 1) == 1 and not self.stream.images_ and not self.is_last
        kept = KeptPath(self.backend, self.stream.run.loop) if keeps else None
        if kept is not None:
            request["keep"] = kept.name
            if self.next_use is not None and self.backend.counts_programs:
                request["next_use"] = self.next_use
        if self.stream.run.expects:
            request["expects"], self.stream.run.expects = self.stream.run.expects, []
        request |= self._group
        self._group, self.expected = {}, None
        return self._named(request), kept

    async def generate_parts(self, params: SglSamplingParams) -> tuple[list[Any], dict[str, Any]]:
        """([begin, end, why, text] of each finished part of a sequence, meta); the path goes on behind the last."""
        request, kept = self._request(params)
        answer = (await self._ask(request, 1, None))[0]
        self._shared = None
        _check_finish(answer.meta)
        parts = list(answer.meta.get("parts") or ())
        ids = answer.token_ids[: parts[-1][1]] if parts else []
        self.path.append_generated(Kept(ids, ""))
        if kept is not None and ids:
            self._base = Base(kept, int(answer.meta["prompt_tokens"]) + len(ids), len(self.path))
        return parts, answer.meta

    async def _ask(self, request: dict[str, Any], num: int, on_piece: OnPiece | None) -> list[_Result]:
        """Sends what the engine does not have yet; everything, if it has forgotten the rest, or where it is to give
        several answers: those go on from no kept path."""
        if self._base is None or num > 1:
            return await self._collect(request, num, on_piece)
        try:
            return await self._collect({**request, **self._base.extend(request["prompt_parts"])}, num, on_piece)
        except RadixlangError as error:
            if error.code != UNKNOWN_PATH:
                raise
        self._base = None
        return await self._collect(self._named(request), num, on_piece)

    async def _collect(self, request: dict[str, Any], num: int, on_piece: OnPiece | None) -> list[_Result]:
        results = [_Result() for _ in range(num)]
        chunks = self.backend.native_generate(request)
        try:
            async for chunk in chunks:
                index = int(chunk.get("index") or 0)
                results[index].add(chunk)
                if index == 0 and on_piece is not None:
                    on_piece(str(chunk.get("text") or ""), results[0].meta)
        finally:
            close = getattr(chunks, "aclose", None)
            if close is not None:
                await close()
        return results

    async def _end_token_ids(self) -> frozenset[int]:
        try:
            return frozenset((await self.backend.native_model_info()).get("eos_token_ids") or ())
        except NotImplementedError:
            return frozenset()

    async def select(self, expr: SglSelect, context: contextvars.Context) -> ChoicesDecision:
        method: ChoicesSamplingMethod = expr.choices_method or token_length_normalized
        if isinstance(method, ConstrainedDecoding):
            return await self._generate_choice(expr, context)
        answer = await self.backend.native_score(
            self.path.parts(),
            expr.choices,
            unconditional=method.requires_unconditional_logprobs,
            **self._adapter(),
            **self._program(),
        )
        scored = answer["choices"]
        inputs = [option["token_logprobs"] for option in scored]
        decision = method(
            choices=expr.choices,
            normalized_prompt_logprobs=[mean_logprob(option) for option in inputs],
            input_token_logprobs=inputs,
            output_token_logprobs=[[] for _ in inputs],
            unconditional_token_logprobs=[option["unconditional"] for option in scored]
            if method.requires_unconditional_logprobs
            else None,
        )
        if expr.temperature > 1e-5:
            totals = [total_logprob(option) for option in inputs]
            seed = None if expr.seed is None else f"{expr.seed}:{expr.name}"
            decision.decision = expr.choices[sample_option(totals, expr.temperature, seed)]
        counts = {name: answer.get(name, 0) for name in ("prompt_tokens", "cached_tokens")}
        decision.meta_info = {**(decision.meta_info or {}), **counts, "completion_tokens": 0}
        self._last = (self.path.mark(), self.path.last())
        self.path.append_generated(Kept([], decision.decision))
        self.committed = len(self.stream.text_)
        return decision

    async def _generate_choice(self, expr: SglSelect, context: contextvars.Context) -> ChoicesDecision:
        params = SglSamplingParams(
            max_new_tokens=max(len(choice.encode()) for choice in expr.choices) + 1,
            temperature=expr.temperature,
            seed=expr.seed,
            constraint={"type": "choice", "choices": expr.choices},
            lora_path=self.stream.default_sampling_para.lora_path,
        )
        text, meta = await self.generate(params, context, None)
        return ChoicesDecision(text, meta)


class _Result:
    """One generation, gathered from its chunks."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self.token_ids: list[int] = []
        self.meta: dict[str, Any] = {}

    @property
    def text(self) -> str:
        return "".join(self._texts)

    def add(self, chunk: dict[str, Any]) -> None:
        self._texts.append(str(chunk.get("text") or ""))
        self.token_ids.extend(chunk.get("output_ids") or ())
        meta = dict(chunk.get("meta_info") or {})
        for name in _PER_TOKEN:  # a server may send what is new, or all so far
            new, old = meta.get(name), self.meta.get(name)
            if new is not None and old and len(new) < int(meta.get("completion_tokens") or 0):
                meta[name] = [*old, *new]
            elif new is None and old:
                meta[name] = old
        self.meta = {**self.meta, **meta}


def _check_finish(meta: dict[str, Any]) -> None:
    finish = meta.get("finish_reason") or {}
    if finish.get("type") in ("abort", "error"):
        raise Aborted(str(finish.get("message") or "the backend aborted the request"))
