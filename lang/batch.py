"""A program over many arguments, without a thread each.

Bodies are greenlets on a few threads (waiting.py). A program is in flight from its start until its last expression
has run; at most `num_threads` are, and results come in the order of the arguments.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from .async_run import run_blocking
from .backend.base_backend import BaseBackend, NativeBackend
from .blocking import overrides
from .global_config import global_config, resolve_backend
from .interpreter import new_state, run_body
from .run_options import BATCH_OPTIONS, RunOptions
from .state import ProgramState
from .waiting import batch_bodies, wait

if TYPE_CHECKING:
    from .program import SglFunction

AUTO_IN_FLIGHT = 1024
"""Programs at once for num_threads="auto": a waiting one costs a few kB, and the backend batches what it can see."""


def named_arguments(program: SglFunction, entries: Sequence[Any]) -> list[dict[str, Any]]:
    """Each entry as keywords; tuples go to the parameters in order. Raises if one does not fit the program."""
    result: list[dict[str, Any]] = []
    for entry in entries:
        if isinstance(entry, dict):
            result.append(dict(entry))
            continue
        if not isinstance(entry, (list, tuple)):
            raise TypeError(f"run_batch takes dicts or tuples of arguments, found {type(entry).__name__}")
        if len(entry) > len(program.arg_names):
            raise TypeError(f"{program.__name__} takes {len(program.arg_names)} arguments, found {len(entry)}")
        result.append(dict(zip(program.arg_names, entry, strict=False)))
    for kwargs in result:
        program.call_arguments((), kwargs)
    return result


def run_batch(program: SglFunction, entries: Sequence[dict[str, Any] | Sequence[Any]], options: dict[str, Any]) -> Any:
    """See SglFunction.run_batch."""
    if not isinstance(entries, (list, tuple)):
        raise TypeError(f"run_batch takes a list or tuple of arguments, found {type(entries).__name__}")
    batch = {name: options.get(name, default) for name, default in BATCH_OPTIONS.items()}
    run_options = RunOptions({k: v for k, v in options.items() if k not in batch})
    if batch["on_error"] not in ("raise", "state"):
        raise ValueError(f'on_error is "raise" or "state", not {batch["on_error"]!r}')
    arguments = named_arguments(program, entries)
    if not arguments:
        return iter(()) if batch["generator_style"] or batch["as_completed"] else []
    backend = resolve_backend(run_options.backend)
    if global_config.enable_precache_with_tracing and len(arguments) > 1 and _wants_prefixes(backend):
        from .tracer import cache_program

        cache_program(program, backend)
    limit = batch["num_threads"]
    limit = AUTO_IN_FLIGHT if limit == "auto" else max(1, int(limit))
    runner = _BatchRunner(program, backend, arguments, run_options, limit, batch["on_error"] == "state")
    if batch["as_completed"]:
        return runner.as_completed(batch["progress_bar"])
    results = runner.in_order(batch["progress_bar"])
    return results if batch["generator_style"] else list(results)


def _wants_prefixes(backend: BaseBackend) -> bool:
    """Whether to trace for a constant prefix: radixlang's own scheduler sees shared prefixes without being told."""
    return overrides(backend, "cache_prefix") and not isinstance(backend, NativeBackend)


class _BatchRunner:
    """Starts programs as others end."""

    def __init__(
        self,
        program: SglFunction,
        backend: BaseBackend,
        arguments: list[dict[str, Any]],
        options: RunOptions,
        limit: int,
        keep_errors: bool,
    ) -> None:
        self.program = program
        self.backend = backend
        self.arguments = arguments
        self.options = options
        self.limit = limit
        self.keep_errors = keep_errors
        self.states: dict[int, ProgramState] = {}
        self._lock = threading.Lock()
        self._next = 0
        self._stopped = False
        self._futures: list[Future[ProgramState]] = [Future() for _ in arguments]
        self._finished: deque[int] = deque()
        self._news: Future[None] = Future()

    def start(self) -> None:
        for _ in range(min(self.limit, len(self.arguments))):
            self._start_next()

    def _start_next(self) -> None:
        with self._lock:
            if self._stopped or self._next >= len(self.arguments):
                return
            index = self._next
            self._next += 1
        batch_bodies.submit(lambda: self._run(index)).add_done_callback(lambda done: self._done(index, done))

    def _run(self, index: int) -> ProgramState:
        """One program, in its greenlet: until its last expression has run."""
        call = self.program.call_arguments((), self.arguments[index])
        if self.program.is_async:
            return run_blocking(self.program, self.backend, call, self.options)
        state = new_state(self.program, self.backend, call.arguments, self.options)
        with self._lock:
            self.states[index] = state
            stopped = self._stopped
        if stopped:
            state.cancel()
        try:
            run_body(self.program, state, call.args[1:], call.kwargs)
        except Exception:
            if not self.keep_errors:
                state.cancel()
                raise
        state.sync()
        return state

    def _done(self, index: int, done: Future[ProgramState]) -> None:
        error = done.exception()
        if error is not None:
            self._futures[index].set_exception(error)
        else:
            self._futures[index].set_result(done.result())
        with self._lock:
            self.states.pop(index, None)
            self._finished.append(index)
            news, self._news = self._news, Future()
        news.set_result(None)
        self._start_next()

    def stop(self) -> None:
        """Starts nothing more, and cancels what runs."""
        with self._lock:
            self._stopped = True
            running = list(self.states.values())
        for state in running:
            state.cancel()

    def in_order(self, progress_bar: bool) -> Iterator[ProgramState]:
        bar = _Progress(len(self.arguments) if progress_bar else None)
        for future in self._futures:
            future.add_done_callback(lambda _: bar.advance())
        try:
            self.start()
            for i in range(len(self._futures)):
                state = wait(self._futures[i])
                self._futures[i] = Future()  # a state that was given is its reader's alone
                yield state
        finally:
            self.stop()
            bar.close()

    def as_completed(self, progress_bar: bool) -> Iterator[tuple[int, ProgramState]]:
        bar = _Progress(len(self.arguments) if progress_bar else None)
        try:
            self.start()
            for _ in range(len(self._futures)):
                while True:
                    with self._lock:
                        news = self._news
                        index = self._finished.popleft() if self._finished else None
                    if index is not None:
                        break
                    wait(news)
                bar.advance()
                yield index, self._futures[index].result()
        finally:
            self.stop()
            bar.close()


class _Progress:
    """A bar on stderr, or nothing."""

    def __init__(self, total: int | None) -> None:
        self._bar: Any = None
        self._lock = threading.Lock()
        if total is not None:
            import tqdm

            self._bar = tqdm.tqdm(total=total, disable=os.environ.get("TQDM_DISABLE") == "1")

    def advance(self) -> None:
        if self._bar is not None:
            with self._lock:
                self._bar.update()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
