"""What all streams of one run share: its costs, limits, deadline and end."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
import time
import weakref
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import Cancelled, ProgramError, ProgramTimeout
from .loop import background_loop
from .names import new_name
from .usage import Budget, Usage
from .waiting import wait

if TYPE_CHECKING:
    from .response_cache import ResponseCache
    from .slot import Slot
    from .stream_executor import StreamExecutor
    from .tape import Tape

T = TypeVar("T")
Event = dict[str, Any]

MAX_STREAMS = 1 << 14
"""Of one run at once: forks that fork again end here, and not in the machine's memory."""


class RunContext:
    """One run of a program: its root stream, and the streams forked from it."""

    def __init__(
        self,
        *,
        budget: Budget | None = None,
        retries: int = 0,
        on_event: Callable[[Event], None] | None = None,
        tape: Tape | None = None,
        cache: ResponseCache | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        max_text_chars: int | None = None,
        program_id: str | None = None,
        caller: RunContext | None = None,
        passed_on: dict[str, Any] | None = None,
    ) -> None:
        """caller: the run whose body made this one; it counts what this one uses, and ends it where it is ended.
        passed_on: options of run for programs that the body calls."""
        self._loop: asyncio.AbstractEventLoop | None = loop if caller is None else caller._loop
        self.max_text_chars = max_text_chars
        """Most text of one stream; None is no limit."""
        self.program_id: str = program_id or (new_name() if caller is None else caller.program_id)
        """What a server that serves programs fairly knows the run by; a run that it calls has the same."""
        self.expects: list[dict[str, Any]] = []
        """What streams of the run will begin with: the next call tells the engine."""
        self.caller = caller
        self.passed_on = passed_on or {}
        self.usage: Usage = Usage(None if caller is None else caller.usage)
        self.events: list[Event] = []
        """What happened so far, pieces of streams left out; `time_s` counts from the run's begin."""
        self._began = time.perf_counter()
        self.budget = budget
        self.retries = retries
        self.on_event = on_event
        self.tape = tape
        self.cache = cache
        self.calls_left: int | None = None
        """How many programs one that this run calls may call; None: what the backend allows."""
        self.ret_value: Future[Any] = Future()
        """What the body returned."""
        self._streams: weakref.WeakSet[StreamExecutor] = weakref.WeakSet()
        self._called: weakref.WeakSet[RunContext] = weakref.WeakSet()
        self._tasks: set[asyncio.Task[None]] = set()
        self._lock = threading.Lock()
        if caller is not None:
            with caller._lock:
                caller._called.add(self)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of the run's streams: the language's own, or that of the server which runs the program."""
        return self._loop or background_loop()

    def start(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Runs `work` beside the streams; the end of the run does not wait for it, its cancelling ends it."""

        def begin() -> None:
            task = self.loop.create_task(work())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        self.loop.call_soon_threadsafe(begin)

    def check_fork(self, size: int) -> None:
        """ProgramError where a fork would give the run more streams than MAX_STREAMS."""
        if size > MAX_STREAMS - len(self._streams):
            raise ProgramError(f"a fork of {size}: a program has at most {MAX_STREAMS} streams at once")

    def check_budget(self) -> None:
        """Raises BudgetExceeded if the next call would begin beyond the run's limits, or its caller's."""
        self.usage.check(self.budget)
        if self.caller is not None:
            self.caller.check_budget()

    def add(self, stream: StreamExecutor) -> None:
        with self._lock:
            self._streams.add(stream)

    def streams(self) -> list[StreamExecutor]:
        with self._lock:
            return list(self._streams)

    def cancel(self, error: ProgramError) -> None:
        """Ends every stream of the run that has not finished, and the runs that it called."""
        for task in list(self._tasks):
            self.loop.call_soon_threadsafe(task.cancel)
        for stream in self.streams():
            stream.cancel(error)
        with self._lock:
            called = list(self._called)
        for run in called:
            run.cancel(error)

    def wait(self, future: Future[T], timeout_s: float | None = None) -> T:
        """As waiting.wait; Ctrl-C meanwhile cancels the run."""
        try:
            return wait(future, timeout_s)
        except KeyboardInterrupt:
            self.cancel_by_user()
            raise

    def cancel_by_user(self) -> None:
        self.cancel(Cancelled("the program was cancelled"))

    def end(self) -> None:
        """The body has ended: no stream gets more to do."""
        for stream in self.streams():
            stream.end_stream()

    def set_deadline(self, timeout_s: float) -> None:
        """From now; then what is unfinished fails with ProgramTimeout."""
        reference = weakref.ref(self)

        def expire() -> None:
            run = reference()
            if run is not None:
                run.cancel(ProgramTimeout(f"the program did not finish within {timeout_s:g} s"))

        loop = self.loop
        loop.call_soon_threadsafe(lambda: loop.call_later(timeout_s, expire))

    def relay(self, event: Event) -> None:
        """Keeps an event of a run that happens elsewhere, and tells `on_event`, as `emit` does."""
        if event["event"] != "piece":
            self.events.append({"time_s": time.perf_counter() - self._began, **event})
        if self.on_event is not None:
            self.on_event(event)

    def emit(self, kind: str, stream: StreamExecutor, slot: Slot, **fields: Any) -> None:
        """Keeps the event, and tells `on_event`, if there is one; with the node, where the run is one of a graph."""
        if self.on_event is None and kind == "piece":
            return
        node = {} if slot.node is None else {"node": slot.node}
        event = {"event": kind, "stream": stream.sid, "name": slot.name, **node, **fields}
        if kind != "piece":
            self.events.append({"time_s": time.perf_counter() - self._began, **event})
        if self.on_event is not None:
            self.on_event(event)


_running: contextvars.ContextVar[RunContext | None] = contextvars.ContextVar("radixlang_run", default=None)


def current_run() -> RunContext | None:
    """The run whose body is being executed in this context."""
    return _running.get()


@contextlib.contextmanager
def body_of(run: RunContext) -> Iterator[None]:
    """Around a body of `run`: runs that begin inside are called by it."""
    token = _running.set(run)
    try:
        yield
    finally:
        _running.reset(token)
