"""What the steps brought for one request and nobody has read yet, bounded: a request whose reader lags is paused.

A paused request keeps its slots and takes no steps, so what waits for a slow reader stays under a quarter of a MiB
however long the answer is; it goes on when half of that is read.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from .messages import Output

MAX_UNREAD_BYTES = 256 * 1024
_OUTPUT_BYTES = 512  # of an Output with nothing in it, as Python keeps it
_TOKEN_BYTES = 48  # of an id and what becomes of it as text
_LOGPROB_BYTES = 256  # of one position's log-probabilities, besides those of its `top`


class Mailbox:
    """`pause(True)` is called when too much waits, `pause(False)` when enough is read."""

    __slots__ = ("_is_paused", "_items", "_pause", "_unread", "_waiter")

    def __init__(self, pause: Callable[[bool], None]) -> None:
        self._items: deque[tuple[int, Output, int]] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._pause = pause
        self._unread = 0
        self._is_paused = False

    def put(self, index: int, output: Output) -> None:
        """`index`: of the generation, among the request's n."""
        size = _size(output)
        self._items.append((index, output, size))
        self._unread += size
        if self._unread > MAX_UNREAD_BYTES and not self._is_paused:
            self._is_paused = True
            self._pause(True)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @property
    def has_more(self) -> bool:
        """Whether the next `get` does not wait."""
        return bool(self._items)

    async def get(self) -> tuple[int, Output]:
        """The next one; waits for it."""
        while not self._items:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        index, output, size = self._items.popleft()
        self._unread -= size
        if self._is_paused and self._unread < MAX_UNREAD_BYTES // 2:
            self._is_paused = False
            self._pause(False)
        return index, output


def _size(output: Output) -> int:
    size = _OUTPUT_BYTES + _TOKEN_BYTES * len(output.token_ids)
    for positions in (output.logprobs, output.prompt_logprobs):
        if positions:
            size += len(positions) * (_LOGPROB_BYTES + 64 * len(positions[0].top or positions[-1].top))
    return size
