"""One stream of a program: its text, its values, and the queue of expressions that extend it.

Appending never waits. Expressions that need a backend run in order on the language's event loop; others run at once
when nothing is before them. After a failure the queue goes on, refusing: every value that can no longer be made known
fails with the same ProgramError, so nothing waits for ever.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from ..errors import Cancelled, ProgramError, UndefinedVariable
from .backend.base_backend import BaseBackend, NativeBackend
from .blocking import BlockingCalls
from .chat_template import ChatTemplate
from .declared import declared
from .ir import (
    SglExpr,
    SglExprList,
    SglVarScopeBegin,
    SglVarScopeEnd,
    as_expr,
)
from .names import new_name
from .native_calls import NativeCalls
from .perform import Performer
from .points import ForkPoint, SyncPoint
from .run_context import RunContext
from .sampling import SglSamplingParams
from .slot import QueueItem, Slot

_running: set[StreamExecutor] = set()
"""Streams with something to do: an event loop holds its tasks weakly. Touched on the loop alone."""


class StreamExecutor:
    """Attributes that custom backends read: text_, messages_, images_, variables, meta_info, chat_template, backend."""

    def __init__(
        self,
        backend: BaseBackend,
        arguments: Mapping[str, Any],
        default_sampling_para: SglSamplingParams,
        chat_template: ChatTemplate | None = None,
        stream: bool = False,
        num_api_spec_tokens: int | None = None,
        use_thread: bool = True,
        *,
        run: RunContext | None = None,
        parent: StreamExecutor | None = None,
    ) -> None:
        self.sid = new_name()
        self.backend = backend
        self.arguments = arguments
        self.default_sampling_para = default_sampling_para
        self.stream = stream
        self.num_api_spec_tokens = num_api_spec_tokens
        self.use_thread = use_thread
        self.run = run or RunContext()
        self.parent = parent

        self.text_ = ""
        self.messages_: list[dict[str, Any]] = []
        self.images_: list[tuple[Any, str]] = []
        self.variables: dict[str, Any] = {}
        self.meta_info: dict[str, Any] = {}
        self.slots: dict[str, Slot] = {}
        self._inherited: dict[str, Slot] = {}
        self.fork_start_text_pos: int | None = None
        self.is_finished = False
        self.error_: ProgramError | None = None
        self.cancelled = False

        self.calls: NativeCalls | BlockingCalls
        if isinstance(backend, NativeBackend):
            self.calls = NativeCalls(self, backend)
            self.chat_template = chat_template or backend.known_chat_template()
        else:
            self.calls = BlockingCalls(self)
            self.chat_template = chat_template or backend.get_chat_template()
        self.performer = Performer(self)

        self._lock = threading.RLock()
        self._queue: deque[QueueItem] = deque()
        self._running = parent is not None  # a branch waits for its fork
        self._ended = False
        self._task: asyncio.Task[None] | None = None
        self._item: QueueItem | None = None
        self._watchers: list[Future[None]] = []
        self.run.add(self)

    # -- appending ---------------------------------------------------------------------------------------------

    def submit(self, expr: SglExpr | str, scope: str = "") -> list[Slot]:
        """Appends an expression, and returns what it defines; `scope` is put before those names.

        With use_thread=False, waits and raises what failed.
        """
        checked = as_expr(expr)
        if checked is None:
            raise TypeError(f"only strings and expressions can be appended to a program, not {type(expr).__name__}")
        with self._lock:
            slots = self._append(checked, scope)
        self.notify()
        if not self.use_thread:
            self.sync()
            if self.error_ is not None:
                raise self.error_
        return slots

    def _append(self, expr: SglExpr, scope: str = "") -> list[Slot]:
        if isinstance(expr, SglExprList):
            return [slot for part in expr.expr_list for slot in self._append(part, scope)]
        if scope and isinstance(expr, (SglVarScopeBegin, SglVarScopeEnd)):
            expr = type(expr)(scope + expr.name)
            scope = ""
        item = QueueItem(expr, contextvars.copy_context(), declared(expr, scope))
        self.slots.update((slot.name, slot) for slot in item.slots if slot.name)
        if not self._running and self.performer.is_immediate(expr):
            self._perform_now(item)
            return item.slots
        self._queue.append(item)
        if not self._running:
            self._running = True
            self._start()
        return item.slots

    # -- executing ---------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self.run.loop.call_soon_threadsafe(self._start_on_loop)

    def _start_on_loop(self) -> None:
        _running.add(self)
        self._task = self.run.loop.create_task(self._drain())

    def begin(self) -> None:
        """The fork that made this stream has happened."""
        with self._lock:
            self._start()

    async def _drain(self) -> None:
        while True:
            with self._lock:
                if not self._queue:
                    self._running, self._task = False, None
                    break
                self._item = item = self._queue.popleft()
            if self.error_ is not None:
                self._refuse(item, self.error_)
            else:
                try:
                    await self.performer.perform(item)
                except asyncio.CancelledError:
                    self._fail(item, self.error_ or Cancelled("the program was cancelled"))
                except Exception as error:
                    self._fail(item, error)
            self._item = None
            self.notify()
        _running.discard(self)
        self._settle()

    def _perform_now(self, item: QueueItem) -> None:
        if self.error_ is not None:
            self._refuse(item, self.error_)
            return
        try:
            self.performer.perform_immediate(item)
        except Exception as error:
            self._fail(item, error)

    def _fail(self, item: QueueItem | None, error: BaseException) -> None:
        """`error`, where `item` failed; nothing after it runs."""
        where: str | None = None
        if item is not None:
            where = next((slot.where for slot in item.slots if slot.where), getattr(item.expr, "where", None))
        if not isinstance(error, ProgramError):
            cause, error = error, ProgramError(str(error) or type(error).__name__, where=where)
            error.__cause__ = cause
        with self._lock:
            self.error_ = self.error_ or error
        if item is not None:
            for slot in item.slots:
                if slot.started and isinstance(error, Cancelled):
                    last = dict(slot.pieces[-1][1]) if slot.pieces else {"completion_tokens": 0}
                    slot.meta = {**last, "finish_reason": {"type": "abort", "message": str(error)}}
            self._refuse(item, error)
        for slot in self.performer.open_slots():
            slot.fail(error)

    def _refuse(self, item: QueueItem, error: ProgramError) -> None:
        for slot in item.slots:
            slot.fail(error)
        if isinstance(item.expr, SyncPoint):
            item.expr.reached.set_result(None)
        elif isinstance(item.expr, ForkPoint):
            for child in item.expr.children:
                child.fail(error)
                child.begin()

    def fail(self, error: BaseException) -> None:
        """The program failed outside its expressions: in its body, or before its fork."""
        self._fail(None, error)
        self.notify()

    def end_stream(self) -> None:
        """Nothing more will be appended."""
        with self._lock:
            self._ended = True
        self._settle()

    def end(self) -> None:
        """The program's body has ended: nothing more will be appended to any stream of its run."""
        self.run.end()

    def _settle(self) -> None:
        with self._lock:
            if self._running or not self._ended or self.is_finished:
                return
            self.is_finished = True
        self.notify()
        self.performer.finish()

    def cancel(self, error: ProgramError | None = None) -> None:
        """Ends this stream: what runs is aborted on the backend, what is unfinished fails. A finished one stays."""
        reason = error or Cancelled("the program was cancelled")
        with self._lock:
            if self.is_finished or (self._ended and not self._running):
                return
            self.cancelled = self.cancelled or isinstance(reason, Cancelled)
            self.error_ = self.error_ or reason
            task = self._task
        for slot in self.performer.open_slots():
            slot.fail(reason)
        if task is not None:
            self.run.loop.call_soon_threadsafe(self._cancel_on_loop, task)
        self.notify()

    def _cancel_on_loop(self, task: asyncio.Task[None]) -> None:
        if self._item is not None and self._task is task:
            task.cancel()

    # -- reading -----------------------------------------------------------------------------------------------

    def notify(self) -> None:
        """Something changed: whoever watches looks again."""
        with self._lock:
            watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            watcher.set_result(None)

    def watch(self) -> Future[None]:
        """Done at the next change."""
        watcher: Future[None] = Future()
        with self._lock:
            self._watchers.append(watcher)
        return watcher

    @property
    def is_settled(self) -> bool:
        """Nothing is queued or running."""
        return not self._running

    def queued(self) -> list[SglExpr]:
        """What waits behind what runs."""
        return [item.expr for item in list(self._queue)]

    def sync_future(self) -> Future[None]:
        """Done when everything appended so far has run or failed."""
        point = SyncPoint()
        with self._lock:
            if self._running:
                self._queue.append(QueueItem(point, contextvars.copy_context()))
            else:
                point.reached.set_result(None)
        return point.reached

    def sync(self) -> None:
        """Waits for everything appended so far; raises nothing."""
        self.run.wait(self.sync_future())

    def value_future(self, name: str) -> Future[Any]:
        """The value of `name`; UndefinedVariable at once if no expression defines it."""
        slot = self.slots.get(name)
        if slot is not None:
            return slot.future
        known: Future[Any] = Future()
        if name in self.variables:
            known.set_result(self.variables[name])
        elif self.error_ is not None:
            known.set_exception(self.error_)
        else:
            names = ", ".join(sorted({*self.slots, *self.variables})) or "none"
            known.set_exception(UndefinedVariable(f"no variable {name!r} in this program so far; there are: {names}"))
        return known

    def get_var(self, name: str) -> Any:
        return self.run.wait(self.value_future(name))

    def set_var(self, name: str, value: Any) -> None:
        slot = Slot(name)
        slot.define(value)
        with self._lock:
            self.slots[name] = slot
            self.variables[name] = value

    def set_future(self, name: str, future: Future[Any], dtype: Any = None) -> None:
        """`name` gets the value of `future` when that is known."""
        slot = Slot(name, future=future, dtype=dtype)
        with self._lock:
            self.slots[name] = slot

    def drop(self, slot: Slot, why: str) -> None:
        """The expression that would have defined `slot` is not run."""
        with self._lock:
            if self.slots.get(slot.name) is slot:
                del self.slots[slot.name]
        slot.fail(UndefinedVariable(why, where=slot.where))

    def own_names(self) -> list[str]:
        """Names that this stream defined since its fork."""
        return [name for name, slot in self.slots.items() if self._inherited.get(name) is not slot]

    def get_meta_info(self, name: str, timeout: float | None = None) -> Any:
        """The backend's meta information on `name`, waiting for it; None for a variable that was set."""
        slot = self.slots.get(name)
        if slot is None:
            if name in self.variables:
                return self.meta_info.get(name)
            self.run.wait(self.value_future(name), timeout)
            return None
        try:
            self.run.wait(slot.future, timeout)
        except Cancelled:
            if slot.meta is None:
                raise
        return slot.meta if slot.meta is not None else self.meta_info.get(name)

    def text(self) -> str:
        self.sync()
        self.raise_error()
        return self.text_

    def messages(self) -> list[dict[str, Any]]:
        self.sync()
        self.raise_error()
        return self.messages_

    def error(self) -> ProgramError | None:
        self.sync()
        return self.error_

    def raise_error(self) -> None:
        if self.error_ is not None:
            raise self.error_

    # -- forking -----------------------------------------------------------------------------------------------

    def fork(
        self,
        size: int = 1,
        position_ids_offset: Any = None,
        *,
        asking: int | None = None,
        ready: Sequence[int] = (),
        is_twin: bool = False,
    ) -> list[StreamExecutor]:
        """Streams that begin where this one is now. Returns at once: they start when this one has come to here.

        asking, ready, is_twin: see ForkPoint.
        """
        self.run.check_fork(int(size))
        children = [
            StreamExecutor(
                self.backend,
                self.arguments,
                self.default_sampling_para,
                self.chat_template,
                self.stream,
                self.num_api_spec_tokens,
                self.use_thread,
                run=self.run,
                parent=self,
            )
            for _ in range(int(size))
        ]
        with self._lock:
            for child in children:
                child.slots = dict(self.slots)
                child._inherited = child.slots.copy()
                child.variables = dict(self.variables)
            self._append(ForkPoint(list(children), asking, ready, is_twin=is_twin))
        return children
