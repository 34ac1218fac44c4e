"""Calls of SGLang-style backends: blocking methods, run in threads of a bounded pool, driven from the loop."""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from .at_once import at_once
from .backend.base_backend import BaseBackend
from .best_of import Pick

if TYPE_CHECKING:
    from .choices import ChoicesDecision
    from .ir import SglSelect
    from .sampling import SglSamplingParams
    from .stream_executor import StreamExecutor

T = TypeVar("T")
OnPiece = Callable[[str, dict[str, Any]], None]

MAX_THREADS = 64


class ThreadPool:
    """Daemon threads, started as they are needed: a call that never returns keeps no interpreter alive."""

    def __init__(self, max_threads: int) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._max_threads = max_threads
        self._num_threads = 0
        self._num_unfinished = 0

    async def call(self, context: contextvars.Context, func: Callable[[], T]) -> T:
        """The result of `func` in a thread. Cancelling leaves the thread to finish alone."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def job() -> None:
            try:
                result = context.run(func)
            except BaseException as error:
                _tell(loop, done.set_exception, _as_future_error(error), done)
            else:
                _tell(loop, done.set_result, result, done)

        self._submit(job)
        return await done

    def _submit(self, job: Callable[[], None]) -> None:
        with self._lock:
            self._num_unfinished += 1
            if self._num_unfinished > self._num_threads < self._max_threads:
                self._num_threads += 1
                name = f"radixlang-backend-{self._num_threads}"
                threading.Thread(target=self._work, name=name, daemon=True).start()
        self._jobs.put(job)

    def _work(self) -> None:
        while True:
            self._jobs.get()()
            with self._lock:
                self._num_unfinished -= 1


def _tell(
    loop: asyncio.AbstractEventLoop, setter: Callable[[Any], None], value: Any, done: asyncio.Future[Any]
) -> None:
    loop.call_soon_threadsafe(lambda: None if done.done() else setter(value))


def _as_future_error(error: BaseException) -> BaseException:
    # A future refuses StopIteration; asyncio treats CancelledError of a foreign thread as its own.
    if isinstance(error, (StopIteration, asyncio.CancelledError)):
        wrapped = RuntimeError(f"the backend raised {type(error).__name__}")
        wrapped.__cause__ = error
        return wrapped
    return error


backend_threads = ThreadPool(MAX_THREADS)


def overrides(backend: BaseBackend, method: str) -> bool:
    """Whether the backend's class has a `method` of its own."""
    return getattr(type(backend), method, None) is not getattr(BaseBackend, method)


class BlockingCalls:
    """What a stream asks of a BaseBackend. The backend reads the stream's `text_`, `messages_` and so on."""

    is_last = False
    next_use: int | None = None

    def __init__(self, stream: StreamExecutor) -> None:
        self.stream = stream

    def append_text(self, text: str) -> None:
        """The backend reads `text_`."""

    def append_answer(self, text: str) -> None:
        """The backend reads `text_`."""

    def replace_last(self, text: str) -> None:
        """The last generation's text was rewritten; the backend reads `text_`."""

    def branch(self, child: StreamExecutor) -> BlockingCalls:
        return BlockingCalls(child)

    async def begin_branches(self, context: contextvars.Context) -> None:
        """The stream is about to be forked."""
        if overrides(self.stream.backend, "commit_lazy_operations"):
            await self._call(context, lambda: self.stream.backend.commit_lazy_operations(self.stream))

    async def add_image(self, context: contextvars.Context) -> None:
        if overrides(self.stream.backend, "fill_image"):
            await self._call(context, lambda: self.stream.backend.fill_image(self.stream))

    async def end(self) -> None:
        if overrides(self.stream.backend, "end_program"):
            await self._call(contextvars.copy_context(), lambda: self.stream.backend.end_program(self.stream))

    async def generate(
        self,
        params: SglSamplingParams,
        context: contextvars.Context,
        on_piece: OnPiece | None,
        pick: Pick | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """(value, meta): a list for n > 1, whose first entry is the one that is streamed. pick: the one that counts."""
        num = params.n or 1
        if on_piece is not None:
            one = params if num == 1 else _single(params)
            first: Any = self._stream(one, context, on_piece)
        else:
            backend, stream = self.stream.backend, self.stream
            first = self._call(context, lambda: backend.generate(stream, sampling_params=params.clone()))
        value, meta = await first
        if num > 1 and not isinstance(value, list):  # the backend gives one at a time
            rest = (self._again(_single(params), context.copy()) for _ in range(num - 1))
            value = [value, *await at_once(rest)]
        if pick is not None:
            texts = value if isinstance(value, list) else [value]
            value = texts[pick(texts, [{} for _ in texts])]
        return value, dict(meta or {})

    async def _again(self, params: SglSamplingParams, context: contextvars.Context) -> str:
        backend, stream = self.stream.backend, self.stream
        value, _ = await self._call(context, lambda: backend.generate(stream, sampling_params=params))
        return str(value[0]) if isinstance(value, list) else str(value)

    async def _stream(
        self, params: SglSamplingParams, context: contextvars.Context, on_piece: OnPiece
    ) -> tuple[str, dict[str, Any]]:
        loop = asyncio.get_running_loop()
        stop = threading.Event()
        texts: list[str] = []
        meta: dict[str, Any] = {}

        def give(piece: str, info: dict[str, Any]) -> None:
            if not stop.is_set():
                texts.append(piece)
                meta.update(info or {})
                on_piece(piece, dict(info or {}))

        def consume() -> None:
            pieces: Iterator[tuple[str, dict[str, Any]]] = self.stream.backend.generate_stream(
                self.stream, sampling_params=params.clone()
            )
            try:
                for piece, info in pieces:
                    if stop.is_set():
                        break
                    loop.call_soon_threadsafe(give, piece, info)
            finally:
                close = getattr(pieces, "close", None)
                if close is not None:
                    close()

        try:
            await self._call(context, consume)
        finally:
            stop.set()
        return "".join(texts), meta

    async def select(self, expr: SglSelect, context: contextvars.Context) -> ChoicesDecision:
        backend, stream = self.stream.backend, self.stream
        temperature, method = expr.temperature, expr.choices_method
        return await self._call(context, lambda: backend.select(stream, expr.choices, temperature, method))

    async def _call(self, context: contextvars.Context, func: Callable[[], T]) -> T:
        return await backend_threads.call(context, func)


def _single(params: SglSamplingParams) -> SglSamplingParams:
    one = params.clone()
    one.n = 1
    return one
