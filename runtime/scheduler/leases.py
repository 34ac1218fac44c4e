"""Kept paths: token ids under a name, for live programs, sessions and pins; until released, timed out or crowded out.

A lease is soft: memory pressure may evict its K and V, the ids stay known, and the next request that extends the path
recomputes what is gone. A program's or session's lease says when its path is needed next, as far as is known; a pin
says that somebody wants it kept, and goes last of all.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from typing import NamedTuple

import numpy as np

from ...radix_cache.hold import Hold
from ...radix_cache.interface import Match, PrefixCache
from ...radix_cache.node import Int32, Node
from ..messages import Expected

LEASE_TIMEOUT_S = 1800.0
_MAX_IDS = 64 * 1024 * 1024  # tokens of all leases: 256 MiB


class Lease(NamedTuple):
    ids: Int32
    held: Hold | Node
    """The program's hold of the path, or the node that is pinned."""
    namespace: str
    expires_s: float
    timeout_s: float


class Leases:
    """By name, least recently used first."""

    def __init__(self, cache: PrefixCache) -> None:
        self._cache = cache
        self._leases: OrderedDict[str, Lease] = OrderedDict()
        self._ends: list[tuple[float, str]] = []
        self._num_ids = 0
        self.num_pins = 0

    def __len__(self) -> int:
        return len(self._leases)

    def keep(
        self,
        name: str,
        ids: Int32,
        node: Node,
        namespace: str,
        now_s: float,
        *,
        timeout_s: float = LEASE_TIMEOUT_S,
        steps: int = 0,
    ) -> None:
        """Replaces what had that name. Its time runs from its last use.

        steps: calls of the program until it goes on from here, 0: nobody knows.
        """
        hold = self._cache.lease(Match(node, node.end), steps)
        self._enter(name, Lease(ids, hold, namespace, now_s + timeout_s, timeout_s))

    def pin(self, name: str, ids: Int32, node: Node, namespace: str, now_s: float, *, timeout_s: float) -> None:
        """As keep, but its time runs from now."""
        self._cache.pin(node)
        self._enter(name, Lease(ids, node, namespace, now_s + timeout_s, timeout_s))

    def expect(self, expected: Expected, namespace: str, now_s: float) -> None:
        """What is cached of it is held."""
        ids = np.array(expected.token_ids, np.int32)
        match = self._cache.match(ids, end=ids.size, namespace=namespace)
        if match.length:
            hold = self._cache.lease(match, expected.next_use)
            self._enter(expected.keep, Lease(ids, hold, namespace, now_s + LEASE_TIMEOUT_S, LEASE_TIMEOUT_S))

    def _enter(self, name: str, lease: Lease) -> None:
        self.release(name)
        self._leases[name] = lease
        self.num_pins += isinstance(lease.held, Node)
        self._num_ids += lease.ids.size
        self._note_end(name, lease)
        while self._num_ids > _MAX_IDS:
            self.release(next(iter(self._leases)))

    def use(self, name: str, now_s: float) -> Lease | None:
        """The path of that name; a lease's time starts anew."""
        lease = self._leases.get(name)
        if lease is None:
            return None
        self._leases.move_to_end(name)
        if isinstance(lease.held, Hold):
            self._cache.resume(lease.held)
            lease = self._leases[name] = lease._replace(expires_s=now_s + lease.timeout_s)
        return lease

    def release(self, name: str) -> None:
        """Unknown names are none of our business."""
        lease = self._leases.pop(name, None)
        if lease is not None:
            self._num_ids -= lease.ids.size
            if isinstance(lease.held, Node):
                self.num_pins -= 1
                self._cache.unpin(lease.held)
            else:
                self._cache.unlease(lease.held)

    def expire(self, now_s: float) -> None:
        while self._ends and self._ends[0][0] <= now_s:
            _, name = heapq.heappop(self._ends)
            lease = self._leases.get(name)
            if lease is None:
                continue
            if lease.expires_s <= now_s:
                self.release(name)
            else:  # used meanwhile, or kept anew
                self._note_end(name, lease)

    @property
    def next_end_s(self) -> float | None:
        """When something may expire."""
        return self._ends[0][0] if self._ends else None

    def _note_end(self, name: str, lease: Lease) -> None:
        heapq.heappush(self._ends, (lease.expires_s, name))
        if len(self._ends) > 4 * len(self._leases) + 64:
            self._ends = [(lease.expires_s, name) for name, lease in self._leases.items()]
            heapq.heapify(self._ends)
