"""One event loop in one thread for everything asynchronous that programs and the in-process engine do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_thread_id: int | None = None


def background_loop() -> asyncio.AbstractEventLoop:
    """The loop; started at its first use, in a daemon thread."""
    global _loop, _thread_id
    if _loop is not None and not _loop.is_closed():
        return _loop
    with _lock:
        if _loop is None or _loop.is_closed():
            loop = asyncio.new_event_loop()
            started = threading.Event()
            loop.call_soon(started.set)
            thread = threading.Thread(target=loop.run_forever, name="radixlang-loop", daemon=True)
            thread.start()
            started.wait()
            _loop, _thread_id = loop, thread.ident
        return _loop


def is_loop_thread() -> bool:
    """Whether the caller runs on the loop, where it must not wait."""
    return _thread_id is not None and threading.get_ident() == _thread_id


def spawn(coro: Coroutine[Any, Any, T]) -> Future[T]:
    """Starts `coro` on the loop from any thread."""
    return asyncio.run_coroutine_threadsafe(coro, background_loop())


def run(coro: Coroutine[Any, Any, T]) -> T:
    """Runs `coro` on the loop and waits. Never from the loop's own thread: that would wait for itself."""
    return spawn(coro).result()
