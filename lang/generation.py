"""One gen: its sampling resolved, its type turned into a constraint, its text appended, its value made known."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import GrammarError, ProgramError, RadixlangError, RequestError
from .answers import answer
from .backend.base_backend import NativeBackend
from .best_of import Pick, picker
from .blocking import backend_threads
from .dtype import apply_dtype
from .reasoning import ReasoningSplitter
from .sampling import SglSamplingParams, resolve
from .slot import Slot

if TYPE_CHECKING:
    from .chat_template import ChatTemplate
    from .ir import SglGen
    from .perform import Performer

RETRY_PAUSE_S = 0.05
"""Before the first retry; doubled for each further one."""


def sampling_of(performer: Performer, expr: SglGen, template: ChatTemplate) -> SglSamplingParams:
    """What holds for `expr` on this stream."""
    params = resolve(performer.stream.default_sampling_para, expr.sampling_params, template.stop_str)
    return apply_dtype(params, native=isinstance(performer.stream.backend, NativeBackend))


async def generate(
    performer: Performer,
    expr: SglGen,
    slot: Slot,
    context: contextvars.Context,
    template: ChatTemplate,
    thought: Slot | None = None,
    model_type: str | None = None,
) -> None:
    """Runs `expr`. With `thought`, splits the answer: the thinking becomes that slot's value and leaves the text."""
    params = sampling_of(performer, expr, template)
    pick = picker(expr.options.get("best_by")) if expr.options.get("best_of") else None
    if pick is not None and expr.options.get("best_by") is None:
        params.return_logprob = True
    check: Callable[[str], Any] | None = expr.options.get("check")
    tries = 1 + (int(expr.options.get("repair") or 0) if check is not None else 0)
    for attempt in range(tries):
        if attempt and params.seed is not None:
            params.seed += 1
        writer = _Writer(performer, slot, thought, model_type, quiet=check is not None)
        ask = functools.partial(_with_retries, performer, params, context, slot, writer, pick)
        value, meta = await answer(performer.stream, expr, ask, fresh=attempt > 0)
        value = writer.finish(value, meta)
        problem = None if check is None else await _problem(check, value, context)
        if problem is None:
            break
        writer.undo()
        if attempt == tries - 1:
            raise ProgramError(f"the check of {slot.name or 'a gen'!r} refused {tries} answers; the last: {problem}")
    if thought is not None:
        performer.define(thought, writer.thought.strip(), None)
    performer.define(slot, value, meta)


async def _problem(check: Callable[[str], Any], value: Any, context: contextvars.Context) -> str | None:
    """Why `check` refuses `value`: it returned something false, or raised. None: it does not."""
    try:
        accepted = await backend_threads.call(context.copy(), lambda: check(value))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None if accepted or accepted is None else f"not accepted: {value!r}"


async def _with_retries(
    performer: Performer,
    params: SglSamplingParams,
    context: contextvars.Context,
    slot: Slot,
    writer: _Writer,
    pick: Pick | None,
) -> tuple[Any, dict[str, Any]]:
    stream = performer.stream
    for attempt in range(stream.run.retries + 1):
        stream.run.check_budget()
        slot.started = True
        stream.run.emit("gen", stream, slot, attempt=attempt)
        try:
            on_piece = writer.push if stream.stream and pick is None else None
            value, meta = await stream.calls.generate(params, context.copy(), on_piece, pick)
        except Exception as error:
            if attempt == stream.run.retries or slot.pieces or not _is_passing(error):
                raise
            await asyncio.sleep(RETRY_PAUSE_S * 2**attempt)
        else:
            return value, meta
    raise AssertionError("unreachable: the last attempt returns or raises")


def _is_passing(error: Exception) -> bool:
    """Whether the same call may succeed later."""
    if isinstance(error, (ProgramError, RequestError, GrammarError)):
        return False
    return not isinstance(error, RadixlangError) or error.status >= 500 or error.status == 429


class _Writer:
    """Appends a generation's text to its stream: as it comes, or whole."""

    def __init__(
        self, performer: Performer, slot: Slot, thought: Slot | None, model_type: str | None, *, quiet: bool
    ) -> None:
        self.performer = performer
        self.slot = slot
        self.begin = len(performer.stream.text_)
        self.thought = ""
        self._splitter = ReasoningSplitter(model_type) if thought is not None else None
        self._thought_slot = thought
        self._quiet = quiet

    def push(self, piece: str, meta: dict[str, Any]) -> None:
        """A piece of a streamed generation."""
        if self._splitter is not None:
            said = self._said(*self._splitter.push(piece), meta)
            piece = said if self.performer.stream.text_[self.begin :] else said.lstrip()
        if self._quiet:
            return
        stream = self.performer.stream
        self.slot.pieces.append((piece, meta))
        stream.text_ += piece
        stream.run.emit("piece", stream, self.slot, text=piece)
        stream.notify()

    def _said(self, thought: str, said: str, meta: dict[str, Any]) -> str:
        self.thought += thought
        if thought and self._thought_slot is not None and not self._quiet:
            self._thought_slot.pieces.append((thought, meta))
        return said

    def finish(self, value: Any, meta: dict[str, Any]) -> Any:
        """The whole value has come; returns it as the program sees it."""
        stream = self.performer.stream
        text = value[0] if isinstance(value, list) else value
        if not isinstance(text, str):
            raise TypeError(f"the backend gave {type(text).__name__} where text was due")
        if self._splitter is not None:
            if stream.text_[self.begin :] == "" and not self.thought:  # not streamed
                self._said(*self._splitter.push(text), meta)
            streamed = stream.text_[self.begin :]
            self._said(*self._splitter.flush(), meta)
            splitter = ReasoningSplitter(self._splitter.model_type)
            first, last = splitter.push(text), splitter.flush()
            self.thought, text = first[0] + last[0], (first[1] + last[1]).strip()
            if streamed and text.startswith(streamed):
                self.slot.pieces.append((text[len(streamed) :], meta))
            value = [text, *value[1:]] if isinstance(value, list) else text
            stream.calls.replace_last(text)
        stream.text_ = stream.text_[: self.begin] + text
        if stream.stream and not self.slot.pieces:
            self.slot.pieces.append((text, meta))
        return value

    def undo(self) -> None:
        """The answer was refused: it leaves no text."""
        stream = self.performer.stream
        stream.text_ = stream.text_[: self.begin]
        stream.calls.replace_last("")
        self.slot.pieces.clear()
