"""Answers of /v1/responses that are kept, so that a later request can go on from them, and those still being made."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Coroutine
from typing import Any, NamedTuple

MAX_KEPT = 1024
MAX_BYTES = 64 << 20
_OVERHEAD = 4096  # of one answer, besides what the client sent


class Kept(NamedTuple):
    response: dict[str, Any]
    """As it was answered."""
    messages: list[dict[str, Any]]
    """The conversation up to and with the answer, as chat messages."""
    client: str
    """Whose it is; others do not see it."""
    num_bytes: int
    """What the client sent of it, earlier turns included."""


class ResponsesStore:
    """The most recent ones, in memory: at most `max_kept`, of at most `max_bytes` together."""

    def __init__(self, max_kept: int = MAX_KEPT, max_bytes: int = MAX_BYTES) -> None:
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._max_kept = max_kept
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._running: dict[str, asyncio.Task[None]] = {}

    def put(self, kept: Kept) -> None:
        """In place of what is kept under its id; one that is too large for all the room is not kept."""
        self._drop(kept.response["id"])
        size = kept.num_bytes + _OVERHEAD
        if size > self._max_bytes:
            return
        self._kept[kept.response["id"]] = kept
        self._num_bytes += size
        while len(self._kept) > self._max_kept or self._num_bytes > self._max_bytes:
            self._drop(next(iter(self._kept)))

    def get(self, response_id: str, client: str) -> Kept | None:
        kept = self._kept.get(response_id)
        return kept if kept is not None and kept.client == client else None

    def remove(self, response_id: str, client: str) -> bool:
        if self.get(response_id, client) is None:
            return False
        self.cancel(response_id)
        self._running.pop(response_id, None)
        self._drop(response_id)
        return True

    def _drop(self, response_id: str) -> None:
        kept = self._kept.pop(response_id, None)
        if kept is not None:
            self._num_bytes -= kept.num_bytes + _OVERHEAD

    def run(self, response_id: str, work: Coroutine[Any, Any, None]) -> None:
        """Makes an answer that nobody waits for."""
        task = self._running[response_id] = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(lambda _: self._running.pop(response_id, None))

    def settle(self, kept: Kept) -> None:
        """Keeps what `run` made, unless it was removed meanwhile."""
        if kept.response["id"] in self._running:
            self.put(kept)

    def cancel(self, response_id: str) -> bool:
        """Ends the making of an answer; False: it is not being made."""
        task = self._running.get(response_id)
        return task is not None and task.cancel()
