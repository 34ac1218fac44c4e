"""Reading a program while it runs: what is new since the last look."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from ..errors import UndefinedVariable
from .slot import Slot
from .waiting import wait

if TYPE_CHECKING:
    from .state import ProgramState
    from .stream_executor import StreamExecutor

Piece = tuple[str, dict[str, Any]]


class Tail:
    """A reader's place in a stream's text, or in one variable's."""

    def __init__(self, stream: StreamExecutor, name: str | None) -> None:
        self.stream = stream
        self.name = name
        self._seen_chars = 0
        self._seen_pieces = 0
        self._slot: Slot | None = None

    def news(self) -> tuple[list[Piece], bool]:
        """What came since the last call, and whether that was all. Raises what failed, once all before it is given."""
        return self._text_news() if self.name is None else self._value_news(self.name)

    def _text_news(self) -> tuple[list[Piece], bool]:
        finished = self.stream.is_finished  # before the text: what comes between is given next time
        text = self.stream.text_
        new, self._seen_chars = text[self._seen_chars :], max(self._seen_chars, len(text))
        if new:
            return [(new, {})], False
        if finished or (self.stream.error_ is not None and self.stream.is_settled):
            self.stream.raise_error()
        return [], finished

    def _value_news(self, name: str) -> tuple[list[Piece], bool]:
        if self._slot is None:
            finished = self.stream.is_finished
            self._slot = self.stream.slots.get(name)
            if self._slot is None:
                if finished or self.stream.error_ is not None:
                    self.stream.raise_error()
                    raise UndefinedVariable(f"no variable {name!r} in this program")
                return [], False
        slot = self._slot
        done = slot.future.done()
        new = slot.pieces[self._seen_pieces :]
        self._seen_pieces += len(new)
        if new:
            return new, False
        if not done:
            return [], False
        value = slot.future.result()
        if not slot.pieces and not self._seen_pieces:  # not a streamed generation: a scope, a value that was set
            self._seen_pieces = 1
            return [(value if isinstance(value, str) else str(value), slot.meta or {})], True
        return [], True


def iterate(state: ProgramState, name: str | None) -> Iterator[str]:
    """Pieces of text. Leaving early cancels the program. Holds `state`: dropping that would cancel, too."""
    stream = state.stream_executor
    if not stream.stream:
        yield stream.text() if name is None else stream.get_var(name)
        return
    tail, finished = Tail(stream, name), False
    try:
        while not finished:
            changed = stream.watch()
            pieces, finished = tail.news()
            yield from (text for text, _ in pieces if text)
            if not pieces and not finished:
                wait(changed)
    except (GeneratorExit, KeyboardInterrupt):
        stream.run.cancel_by_user()
        raise


async def iterate_async(state: ProgramState, name: str | None, *, return_meta_data: bool) -> AsyncIterator[Any]:
    """Pieces of text, or (text, meta information) of each piece. Leaving early cancels the program."""
    stream = state.stream_executor
    if not stream.stream:
        if name is None:
            await asyncio.wrap_future(stream.sync_future())
            yield stream.text()
        else:
            value = await asyncio.wrap_future(stream.value_future(name))
            yield (value, stream.get_meta_info(name)) if return_meta_data else value
        return
    tail, finished = Tail(stream, name), False
    try:
        while not finished:
            changed = stream.watch()
            pieces, finished = tail.news()
            for text, meta in pieces:
                if return_meta_data:
                    yield text, meta
                elif text:
                    yield text
            if not pieces and not finished:
                await asyncio.wrap_future(changed)
    except (GeneratorExit, asyncio.CancelledError):
        stream.run.cancel_by_user()
        raise
