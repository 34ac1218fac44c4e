"""`s`: what a program's body appends to and reads from, and what run() gives back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any

from ..errors import ProgramError
from .choices import option_probabilities
from .dtype import parse_value
from .group import ProgramStateGroup
from .ir import (
    SglExpr,
    SglExprList,
    SglInline,
    SglRoleBegin,
    SglRoleEnd,
    SglVarScopeBegin,
    SglVarScopeEnd,
    as_expr,
    role_expr,
)
from .run_report import run_html, run_json
from .slot import Slot
from .stream_executor import StreamExecutor
from .text_iter import iterate, iterate_async
from .tools import ToolCall, answer_of, read_calls
from .usage import Usage
from .waiting import settled


class ProgramState:
    """A stream of a running program. Appending (`+=`) never waits; reading a value does, until it is known.

    As a context manager, leaving cancels what has not finished.
    """

    def __init__(self, stream_executor: StreamExecutor, scope: str = "", *, is_reader: bool = False) -> None:
        self.stream_executor = stream_executor
        self._is_reader = is_reader
        """The body runs beside this state's user: what it has not appended yet is waited for."""
        self._scope = scope
        """What the names that the body uses begin with: set while a program runs inline under `into`."""

    @property
    def ret_value(self) -> Any:
        """What the body returned; waits for a streamed run's body."""
        return self.stream_executor.run.wait(self.stream_executor.run.ret_value)

    @property
    def usage(self) -> Usage:
        """What the run cost so far, its forks included."""
        return self.stream_executor.run.usage

    @property
    def cancelled(self) -> bool:
        """Whether the program was ended by cancel(), or because its reader left."""
        return self.stream_executor.cancelled

    # -- appending ---------------------------------------------------------------------------------------------

    def __iadd__(self, other: str | SglExpr | Sequence[str | SglExpr]) -> ProgramState:
        self.append(other)
        return self

    def append(self, other: str | SglExpr | Sequence[str | SglExpr]) -> ProgramState:
        """As `s += other`: a string, an expression, or a sequence of them."""
        if other is None:
            raise ValueError("None cannot be appended to a program")
        if isinstance(other, (list, tuple)):
            for part in other:
                self.append(part)
            return self
        expr = as_expr(other)
        if expr is None:
            raise TypeError(f"only strings and expressions can be appended to a program, not {type(other).__name__}")
        self._submit(expr)
        return self

    def _submit(self, expr: SglExpr) -> None:
        """Inline programs run here, in the body's own thread; the rest goes to the queue."""
        if isinstance(expr, SglExprList) and any(isinstance(part, SglInline) for part in expr.expr_list):
            for part in expr.expr_list:
                self._submit(part)
        elif isinstance(expr, SglInline):
            scope = self._scope + (f"{expr.into}." if expr.into else "")
            inner = ProgramState(self.stream_executor, scope)
            expr.body(inner)
            if expr.into:
                self[expr.into] = ScopeView(inner)
        else:
            self.stream_executor.submit(expr, self._scope)

    def _role(self, name: str, expr: str | SglExpr | None) -> Any:
        if expr is not None:
            whole = role_expr(name, expr)
            self._submit(whole)
            return whole

        @contextmanager
        def role() -> Iterator[None]:
            self._submit(SglRoleBegin(name))
            try:
                yield
            finally:
                self._submit(SglRoleEnd(name))

        return role()

    def system(self, expr: str | SglExpr | None = None) -> Any:
        """Appends a system message; without `expr`, a context manager around its parts."""
        return self._role("system", expr)

    def user(self, expr: str | SglExpr | None = None) -> Any:
        """Appends a user message; without `expr`, a context manager around its parts."""
        return self._role("user", expr)

    def assistant(self, expr: str | SglExpr | None = None) -> Any:
        """Appends an assistant message; without `expr`, a context manager around its parts."""
        return self._role("assistant", expr)

    @contextmanager
    def var_scope(self, name: str) -> Iterator[None]:
        """The text that is appended inside becomes the value of `name`."""
        self._submit(SglVarScopeBegin(name))
        try:
            yield
        finally:
            self._submit(SglVarScopeEnd(name))

    # -- forking -----------------------------------------------------------------------------------------------

    def fork(self, size: int = 1, position_ids_offset: Any = None) -> ProgramStateGroup:
        """`size` states that begin where this one is; they share its text and go on apart. Does not wait."""
        streams = self.stream_executor.fork(size, position_ids_offset)
        return ProgramStateGroup([ProgramState(stream, self._scope) for stream in streams], self)

    def fork_map(
        self, values: Sequence[Any], fn: Callable[[ProgramState, Any], Any], name: str | None = None
    ) -> list[Any]:
        """One branch per value, `fn(branch, value)` for each; the branches' `name`, or what `fn` returned, in order."""
        group = self.fork(len(values))
        returned = [fn(branch, value) for branch, value in zip(group, values, strict=True)]
        results = returned if name is None else [branch[name] for branch in group]
        for branch in group:
            branch.stream_executor.end_stream()
        return results

    def copy(self, position_ids_offset: Any = None) -> AbstractContextManager[ProgramState]:
        """fork(1) as a context manager; its values are joined at the end."""

        @contextmanager
        def copied() -> Iterator[ProgramState]:
            group = self.fork(1, position_ids_offset)
            try:
                yield group[0]
            finally:
                group.join()

        return copied()

    # -- reading -----------------------------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Any:
        return self.get_var(name)

    def __setitem__(self, name: str, value: Any) -> None:
        self.set_var(name, value)

    def __contains__(self, name: str) -> bool:
        """Whether an expression so far defines `name`; does not wait."""
        full = self._scope + name
        return full in self.stream_executor.slots or full in self.stream_executor.variables

    def get_var(self, name: str) -> Any:
        """The value of `name`, waiting for it. ProgramError if it failed, UndefinedVariable if nothing defines it."""
        return self.stream_executor.run.wait(self._known(self._scope + name))

    def _known(self, full_name: str) -> Future[Any]:
        stream = self.stream_executor
        while self._is_reader and full_name not in stream.slots and full_name not in stream.variables:
            changed = stream.watch()
            if stream.run.ret_value.done() or full_name in stream.slots:
                break
            self.stream_executor.run.wait(changed)
        return stream.value_future(full_name)

    def _await_body(self) -> None:
        """A reader waits until the body has appended all that it will."""
        if self._is_reader:
            self.stream_executor.run.wait(settled(self.stream_executor.run.ret_value))

    async def get(self, name: str) -> Any:
        """As `s[name]`, without blocking the event loop."""
        return await asyncio.wrap_future(self.stream_executor.value_future(self._scope + name))

    def set_var(self, name: str, value: Any) -> None:
        """As state[name] = value."""
        self.stream_executor.set_var(self._scope + name, value)

    def get_meta_info(self, name: str) -> Any:
        """What the backend reported of `name`: token counts, finish_reason, log-probabilities …"""
        if self._is_reader and self._scope + name not in self.stream_executor.slots:
            self.stream_executor.run.wait(settled(self._known(self._scope + name)))
        return self.stream_executor.get_meta_info(self._scope + name)

    def value(self, name: str) -> Any:
        """The value of `name` as its gen's dtype says; text where it has none."""
        text = self.get_var(name)
        slot = self._slot(name)
        if isinstance(text, list):
            return [parse_value(one, slot.dtype) for one in text]
        return parse_value(text, slot.dtype) if isinstance(text, str) else text

    def stream_value(self, name: str) -> Iterator[Any]:
        """Growing partial values of a gen with a JSON dtype, each valid for it; the last is `value(name)`."""
        from .partial_json import partial_values

        return partial_values(self, name)

    def probs(self, name: str) -> dict[str, float]:
        """The probability of each option of a select, by total log-likelihood; they sum to 1."""
        self.get_var(name)
        options = self._slot(name).options
        if options is None:
            raise ProgramError(f"{name!r} has no scored options: it is no select, or its backend reports no scores")
        return dict(zip(options[0], option_probabilities(options[1]), strict=True))

    def tool_calls(self, name: str) -> list[ToolCall]:
        """The calls in the value of a gen with tools, in order; ProgramError for one that was cut off."""
        text = self.get_var(name)
        tools = self._slot(name).tools
        if tools is None:
            raise ProgramError(f"{name!r} is no gen with tools")
        return read_calls(text, tools)

    def run_tools(self, name: str) -> list[str]:
        """Runs those calls, and appends what each gave as a message of the role tool. A tool that raises tells so."""
        answers = [answer_of(call) for call in self.tool_calls(name)]
        for answer in answers:
            self._role("tool", answer)
        return answers

    def dtype_of(self, name: str) -> Any:
        """The type that the gen of `name` was given; None for text."""
        return self._slot(name).dtype

    def _slot(self, name: str) -> Slot:
        return self.stream_executor.slots[self._scope + name]

    def text(self) -> str:
        """The whole text, waiting for it."""
        self._await_body()
        return self.stream_executor.text()

    def __repr__(self) -> str:
        """As SGLang's: waits for the whole text. A failure is shown where text() would raise it."""
        try:
            return f"ProgramState({self.text()})"
        except ProgramError as error:
            return f"ProgramState(failed: {error})"

    def messages(self) -> list[dict[str, Any]]:
        """The messages of the roles that have ended, in OpenAI's form, waiting for them."""
        self._await_body()
        return self.stream_executor.messages()

    def sync(self) -> None:
        """Waits for everything appended so far; raises nothing, see error()."""
        self._await_body()
        self.stream_executor.sync()

    def error(self) -> ProgramError | None:
        """Why the program failed, waiting for everything appended so far; its `__cause__` is the original."""
        self._await_body()
        return self.stream_executor.error()

    def events(self) -> list[dict[str, Any]]:
        """What the run did so far: calls that began ("gen") and values that came ("value"), with time_s and stream."""
        return list(self.stream_executor.run.events)

    def to_json(self) -> str:
        """The finished run as JSON: text, messages, variables, usage, events. Waits for it."""
        return run_json(self)

    def to_html(self) -> str:
        """The finished run as one HTML file: each stream's text, what was generated marked with its costs. Waits."""
        return run_html(self)

    def text_iter(self, var_name: str | None = None) -> Iterator[str]:
        """Pieces of the text, or of one variable, as they come. Leaving the loop early cancels the program."""
        return iterate(self, None if var_name is None else self._scope + var_name)

    def text_async_iter(self, var_name: str | None = None, return_meta_data: bool = False) -> AsyncIterator[Any]:
        """As text_iter, asynchronously; with `return_meta_data`, pairs of text and meta information."""
        name = None if var_name is None else self._scope + var_name
        return iterate_async(self, name, return_meta_data=return_meta_data)

    # -- ending ------------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Ends this stream, or the whole run where this is its root: what runs is aborted on the backend."""
        if self.stream_executor.parent is None:
            self.stream_executor.run.cancel_by_user()
        else:
            self.stream_executor.cancel()

    def __enter__(self) -> ProgramState:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()


class ScopeView:
    """The values of a program that ran inline under `into`."""

    def __init__(self, state: ProgramState) -> None:
        self._state = state

    def __getitem__(self, name: str) -> Any:
        return self._state[name]

    def __contains__(self, name: str) -> bool:
        return name in self._state
