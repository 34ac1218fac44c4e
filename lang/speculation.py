"""API speculation: several gens out of one call to a priced API (`num_api_spec_tokens`).

With completion models one long answer, asked for without stops, is matched against the text and the gens that follow.
With chat models the gens of one assistant block are collected and cut out of one answer. Source: SGLang, section 3.3
of its paper; here the state belongs to the stream, so batches work, and an answer that never matches is an error.
"""

from __future__ import annotations

import contextvars
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ProgramError
from .sampling import SglSamplingParams
from .slot import Slot

if TYPE_CHECKING:
    from .chat_template import ChatTemplate
    from .ir import SglGen
    from .stream_executor import StreamExecutor

MAX_TRIES = 3


def _first_stop(text: str, stops: list[str]) -> int:
    """Where the earliest stop begins; -1 if none is there."""
    return min((at for at in (text.find(stop) for stop in stops if stop) if at >= 0), default=-1)


def _sampling(stream: StreamExecutor, expr: SglGen, template: ChatTemplate) -> SglSamplingParams:
    from .generation import sampling_of

    if stream.stream:
        raise ValueError("num_api_spec_tokens does not work with stream=True")
    return sampling_of(stream.performer, expr, template)


class CompletionSpeculation:
    """The text that a completion model has given ahead of the program."""

    def __init__(self, stream: StreamExecutor) -> None:
        self.stream = stream
        self.text = ""

    def open_slots(self) -> list[Slot]:
        return []

    def add_text(self, text: str) -> None:
        """The program appends `text`: what was guessed goes on behind it, or is worth nothing."""
        self.text = self.text[len(text) :] if self.text.startswith(text) else ""

    async def generate(self, expr: SglGen, slot: Slot, context: contextvars.Context, template: ChatTemplate) -> None:
        params = _sampling(self.stream, expr, template)
        limit = int(params.max_new_tokens or 0)
        stops = params.stop_strings()
        meta: dict[str, Any] = {}
        if not self.text or (not stops and len(self.text) < limit):
            ahead = params.clone()
            ahead.stop = []
            ahead.max_new_tokens = max(limit, self.stream.num_api_spec_tokens or 0)
            value, meta = await self.stream.calls.generate(ahead, context, None)
            self.stream.run.usage.add(meta)
            self.text = str(value[0] if isinstance(value, list) else value)
        end = _first_stop(self.text, stops)
        if end < 0:
            end = min(limit, len(self.text))  # as SGLang counts it: characters, where no tokenizer is at hand
        answer, self.text = self.text[:end], self.text[end:]
        self.stream.performer.append_text(answer)
        self.stream.performer.define(slot, answer, meta)


@dataclass(slots=True)
class _Term:
    """A piece of the wanted answer: text that must come, or a gen's slot with the stops that end it."""

    text: str = ""
    slot: Slot | None = None
    stops: tuple[str, ...] = ()


class ChatSpeculation:
    """The assistant block that is being written."""

    def __init__(self, stream: StreamExecutor) -> None:
        self.stream = stream
        self._terms: list[_Term] = []
        self._params: SglSamplingParams | None = None

    def open_slots(self) -> list[Slot]:
        """Gens that wait for the end of the block."""
        return [term.slot for term in self._terms if term.slot is not None]

    def add_text(self, text: str) -> None:
        self._terms.append(_Term(text=text))

    async def generate(self, expr: SglGen, slot: Slot, context: contextvars.Context, template: ChatTemplate) -> None:
        params = _sampling(self.stream, expr, template)
        self._terms.append(_Term(slot=slot, stops=tuple(params.stop_strings())))
        if self._params is None:
            self._params = params.clone()
            self._params.stop = []
            self._params.max_new_tokens = self.stream.num_api_spec_tokens

    async def flush(self, context: contextvars.Context) -> None:
        """The block ends: asks for the whole of it, and cuts it into the gens."""
        terms, self._terms = self._terms, []
        params, self._params = self._params, None
        try:
            answers, meta = await self._ask(terms, params, context)
        except Exception as error:
            for term in terms:
                if term.slot is not None:
                    term.slot.fail(error if isinstance(error, ProgramError) else ProgramError(str(error)))
            raise
        for term, text in zip(terms, answers, strict=True):
            self.stream.performer.append_text(text)
            if term.slot is not None:
                self.stream.performer.define(term.slot, text, meta)

    async def _ask(
        self, terms: list[_Term], params: SglSamplingParams | None, context: contextvars.Context
    ) -> tuple[list[str], dict[str, Any]]:
        if params is None:
            return [term.text for term in terms], {}
        answer = ""
        for _ in range(MAX_TRIES):
            value, meta = await self.stream.calls.generate(params, context, None)
            self.stream.run.usage.add(meta)
            answer = str(value[0] if isinstance(value, list) else value)
            texts = _match(terms, answer)
            if texts is not None:
                return texts, meta
        raise ProgramError(
            f"no answer of {MAX_TRIES} fits the text and gens of this assistant block; the last was {answer!r}"
        )


def _match(terms: list[_Term], answer: str) -> list[str] | None:
    """`answer` cut into the terms' texts; None if it does not fit."""
    texts: list[str] = []
    for i, term in enumerate(terms):
        if term.slot is None:
            if not answer.startswith(term.text):
                return None
            text = term.text
        else:
            end = _first_stop(answer, list(term.stops))
            if end < 0 and i < len(terms) - 1:
                return None
            text = answer if end < 0 else answer[:end]
        texts.append(text)
        answer = answer[len(text) :]
    return texts
