"""Who goes first among the waiting.

Order: retracted requests, then the starved in order of arrival, then by priority, then longest cached prefix (in powers
of two, so that near-equals keep their order of arrival), then arrival. Starved: waiting longer than max(2 s, 8 times
what its own uncached prompt takes to prefill): a hard bound, whatever hit rates the others have.
"""

from __future__ import annotations

import heapq
from typing import Any, cast

from ..request import Request

_STARVED_S = 2.0
_STARVED_PREFILLS = 8.0


class WaitingQueue:
    """Heaps with lazily deleted entries: one entry counts, the one whose number is the request's `queue_seq`."""

    def __init__(self, *, lpm: bool) -> None:
        self._lpm = lpm
        self._retracted: list[tuple[int, int, Request]] = []
        self._starved: list[tuple[int, int, Request]] = []
        self._ordered: list[tuple[tuple[int, int, int], int, Request]] = []
        self._starving: list[tuple[float, int, int, Request]] = []
        self._groups: dict[str, dict[Request, None]] = {}
        self._len = 0
        self._num_entries = 0
        self.prefill_tokens_per_s = 1000.0
        """Measured; for the starvation bound."""

    def __len__(self) -> int:
        return self._len

    def add(self, request: Request) -> None:
        """A new or a retracted request."""
        request.is_starved = False
        self._enter(request)
        request.stint = request.queue_seq
        if not request.times_retracted:
            uncached = max(0, request.ids.size - request.benefit)
            bound = max(_STARVED_S, _STARVED_PREFILLS * uncached / self.prefill_tokens_per_s)
            entry = (request.waiting_since_s + bound, request.seq, request.stint, request)
            heapq.heappush(self._starving, entry)

    def put_back(self, request: Request) -> None:
        """One that `pop` gave and that did not fit."""
        self._enter(request)

    def update(self, request: Request) -> None:
        """Its benefit changed."""
        if request.queue_seq and not request.is_starved and not request.times_retracted:
            self._push(request)

    def remove(self, request: Request) -> None:
        """Out of the queue, if it is there."""
        if not request.queue_seq:
            return
        request.queue_seq = 0
        self._len -= 1
        if request.group is not None:
            members = self._groups[request.group]
            del members[request]
            if not members:
                del self._groups[request.group]

    def pop(self, now_s: float) -> Request | None:
        """The next to try; it has left the queue."""
        while self._starving and self._starving[0][0] <= now_s:
            _, _, stint, request = heapq.heappop(self._starving)
            if request.queue_seq and request.stint == stint:
                request.is_starved = True
                self._push(request)
        request_or_none = _pop_valid(self._retracted) or _pop_valid(self._starved) or _pop_valid(self._ordered)
        if request_or_none is not None:
            self.remove(request_or_none)
        return request_or_none

    def siblings(self, request: Request) -> list[Request]:
        """The waiting members of its group, in order of arrival."""
        return list(self._groups.get(request.group, ())) if request.group is not None else []

    def _enter(self, request: Request) -> None:
        self._len += 1
        if request.group is not None:
            self._groups.setdefault(request.group, {})[request] = None
        self._push(request)

    def _push(self, request: Request) -> None:
        self._num_entries += 1
        number = request.queue_seq = self._num_entries
        if request.times_retracted:
            heapq.heappush(self._retracted, (request.seq, number, request))
        elif request.is_starved:
            heapq.heappush(self._starved, (request.seq, number, request))
        else:
            bucket = request.benefit.bit_length() if self._lpm else 0
            key = (-request.submit.priority, -bucket, request.seq)
            heapq.heappush(self._ordered, (key, number, request))


def _pop_valid(heap: list[Any]) -> Request | None:
    while heap:
        _, number, request = heapq.heappop(heap)
        if request.queue_seq == number:
            return cast("Request", request)
    return None
