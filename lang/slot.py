"""One value of a program: unknown, growing, known or failed; and the expression that makes it."""

from __future__ import annotations

import contextvars
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from .ir import SglExpr


@dataclass(slots=True, eq=False)
class Slot:
    """A variable from the moment its expression is appended."""

    name: str
    where: str | None = None
    """file:line of the expression that defines it."""
    future: Future[Any] = field(default_factory=Future)
    """The value, or the ProgramError that took its place."""
    pieces: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """What a streamed generation has given so far: new text and the backend's meta information with it."""
    meta: dict[str, Any] | None = None
    options: tuple[list[str], list[float]] | None = None
    """Of a select: its options and their total log-probabilities."""
    dtype: Any | None = None
    """The type that the value was asked to have."""
    tools: list[Any] | None = None
    """Tools that the generation may call."""
    node: int | None = None
    """The node of a request graph that its expression came from."""
    started: bool = False
    """Its generation has begun."""

    @property
    def text(self) -> str:
        """The streamed text so far."""
        return "".join(piece for piece, _ in self.pieces)

    def define(self, value: Any, meta: dict[str, Any] | None = None) -> None:
        if meta is not None:
            self.meta = meta
        self.started = True
        if not self.future.done():
            self.future.set_result(value)

    def fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)


@dataclass(slots=True)
class QueueItem:
    """An expression in a stream's queue, with the values that it defines."""

    expr: SglExpr
    context: contextvars.Context
    slots: list[Slot] = field(default_factory=list)
