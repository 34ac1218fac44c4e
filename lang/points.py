"""Places in a stream's queue at which something else goes on."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING

from .ir import SglExpr

if TYPE_CHECKING:
    from .stream_executor import StreamExecutor


class SyncPoint(SglExpr):
    """`reached` is done when everything before it has run."""

    def __init__(self) -> None:
        super().__init__()
        self.reached: Future[None] = Future()


class ForkPoint(SglExpr):
    """The children begin here.

    asking: how many of them call the model, if that is known. ready: places of those that are known to do so at once.
    is_twin: a child goes on as if it were the stream itself, forked where that one was.
    """

    def __init__(
        self,
        children: list[StreamExecutor],
        asking: int | None = None,
        ready: Sequence[int] = (),
        *,
        is_twin: bool = False,
    ) -> None:
        super().__init__()
        self.children = children
        self.asking = len(children) if asking is None else asking
        self.ready = ready
        self.is_twin = is_twin
