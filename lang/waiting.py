"""Program bodies that wait without holding a thread.

A body that runs in a pool is a greenlet: when it reads a value that is not there yet, its worker thread goes on with
other bodies. A body in an ordinary thread waits as threads do. `wait` does whichever fits its caller.
"""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, TypeVar

import greenlet

from . import loop as language_loop

T = TypeVar("T")

_here = threading.local()


def wait(future: Future[T], timeout_s: float | None = None) -> T:
    """The future's result; raises its exception, or TimeoutError after `timeout_s`."""
    worker: _Worker | None = getattr(_here, "worker", None)
    if worker is not None and not future.done() and timeout_s is None:
        current = greenlet.getcurrent()
        if current is not worker.hub:
            future.add_done_callback(lambda _: worker.resume(current))
            worker.hub.switch()
            assert future.done()
    if not future.done() and language_loop.is_loop_thread():
        raise RuntimeError("a program's value was read on the language's own event loop; await it there instead")
    return future.result(timeout_s)


def any_done(futures: Sequence[Future[Any]]) -> Future[None]:
    """Done, without a value, when one of `futures` is; an exception of it stays there."""
    done: Future[None] = Future()
    lock = threading.Lock()

    def tell(_: Future[Any]) -> None:
        with lock:
            if not done.done():
                done.set_result(None)

    for future in futures:
        future.add_done_callback(tell)
    return done


def settled(future: Future[Any]) -> Future[None]:
    """Done when `future` is, whether it has a value or failed."""
    return any_done([future])


class _Worker:
    """One thread and the bodies that began in it."""

    def __init__(self, pool: BodyPool) -> None:
        self.pool = pool
        self.ready: deque[Any] = deque()
        self.wake = threading.Condition(pool.lock)
        self.hub: Any = None

    def resume(self, body: Any) -> None:
        with self.pool.lock:
            self.ready.append(body)
            self.wake.notify()

    def work(self) -> None:
        self.hub = greenlet.getcurrent()
        _here.worker = self
        while True:
            with self.pool.lock:
                while not self.ready and not self.pool.jobs:
                    self.pool.idle.append(self)
                    self.wake.wait()
                    if self in self.pool.idle:
                        self.pool.idle.remove(self)
                body = self.ready.popleft() if self.ready else self._begin(*self.pool.jobs.popleft())
            body.switch()
            body = None  # a finished body's frames and values are not ours to keep

    def _begin(self, context: contextvars.Context, job: Callable[[], None]) -> Any:
        body = greenlet.greenlet(job)
        body.gr_context = context
        return body


class BodyPool:
    """Runs bodies as greenlets on at most `max_workers` daemon threads, started as they are needed."""

    def __init__(self, max_workers: int) -> None:
        self.max_workers = max_workers
        self.lock = threading.RLock()
        self.jobs: deque[tuple[contextvars.Context, Callable[[], None]]] = deque()
        self.idle: list[_Worker] = []
        self.num_workers = 0

    def submit(self, body: Callable[[], T]) -> Future[T]:
        """Starts `body` in a copy of the caller's context."""
        future: Future[T] = Future()

        def job() -> None:
            try:
                result = body()
            except BaseException as error:
                with suppress(InvalidStateError):
                    future.set_exception(error)
            else:
                with suppress(InvalidStateError):  # who asked has gone
                    future.set_result(result)

        with self.lock:
            self.jobs.append((contextvars.copy_context(), job))
            if self.idle:
                self.idle.pop().wake.notify()
            elif self.num_workers < self.max_workers:
                self.num_workers += 1
                name = f"radixlang-body-{self.num_workers}"
                threading.Thread(target=_Worker(self).work, name=name, daemon=True).start()
        return future


batch_bodies = BodyPool(max_workers=8)
"""run_batch's: many short bodies."""
stream_bodies = BodyPool(max_workers=32)
"""Those of streamed runs, which may hold their thread with work of their own."""
