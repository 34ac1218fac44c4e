"""Kept paths: token ids under a name, for live programs, sessions and pins; until released, timed out or crowded out.

A lease is soft: memory pressure may evict its K and V, the ids stay known, and the next request that extends the path
recomputes what is gone. A program's or session's lease says when its path is needed next, as far as is known; a pin
says that somebody wants it kept, and goes last of all.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from typing import Any

import numpy as np

from ...radix_cache.hold import Hold
from ...radix_cache.interface import Match, PrefixCache
from ...radix_cache.node import Int32, Node
from ..messages import Expected

LEASE_TIMEOUT_S = 1800.0
_MAX_IDS = 64 * 1024 * 1024  # tokens of all leases: 256 MiB
_LEASE_IDS = 256  # that one weighs without its tokens: as many bytes as what it is made of


class Lease:
    """Of one path. `held`: the program's hold of it, or the node that is pinned."""

    __slots__ = ("expires_s", "held", "ids", "is_expected", "namespace", "timeout_s", "watch")

    def __init__(
        self, ids: Int32, held: Hold | Node, namespace: str, now_s: float, timeout_s: float = LEASE_TIMEOUT_S
    ) -> None:
        self.ids = ids
        self.held = held
        self.namespace = namespace
        self.timeout_s = timeout_s
        self.expires_s = now_s + timeout_s
        self.is_expected = False
        """A later stream of a program begins with `ids`: as much of them is held as is cached at any time."""
        self.watch: dict[Any, bool] | None = None
        """Where the cache keeps it, to tell when that changes."""


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
        self._enter(name, Lease(ids, hold, namespace, now_s, timeout_s))

    def pin(self, name: str, ids: Int32, node: Node, namespace: str, now_s: float, *, timeout_s: float) -> None:
        """As keep, but its time runs from now."""
        self._cache.pin(node)
        self._enter(name, Lease(ids, node, namespace, now_s, timeout_s))

    def expect(self, expected: Expected, namespace: str, now_s: float, step: int) -> None:
        """Holds what the cache has of it in `step`, and what it will have."""
        ids = np.array(expected.token_ids, np.int32)
        match = self._cache.match(ids, end=ids.size, namespace=namespace, step=step)
        hold = self._cache.lease(match, expected.next_use)
        lease = Lease(ids, hold, namespace, now_s)
        lease.is_expected = True
        lease.watch = self._cache.wait(Match(hold.node, match.length), ids, lease, is_now=False)
        self._enter(expected.keep, lease)

    def look_again(self, lease: Lease, step: int) -> None:
        """The cache has more of what is expected, or less."""
        if lease.watch is not None and isinstance(lease.held, Hold):
            match = self._cache.match(lease.ids, end=lease.ids.size, namespace=lease.namespace, step=step)
            self._cache.follow(lease.held, match)
            lease.watch.pop(lease, None)
            at = Match(lease.held.node, match.length)
            lease.watch = self._cache.wait(at, lease.ids, lease, is_now=False)

    def _enter(self, name: str, lease: Lease) -> None:
        self.release(name)
        self._leases[name] = lease
        self.num_pins += isinstance(lease.held, Node)
        self._num_ids += lease.ids.size + _LEASE_IDS
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
            lease.expires_s = now_s + lease.timeout_s
        return lease

    def release(self, name: str) -> None:
        """Unknown names are none of our business."""
        lease = self._leases.pop(name, None)
        if lease is not None:
            self._num_ids -= lease.ids.size + _LEASE_IDS
            if isinstance(lease.held, Node):
                self.num_pins -= 1
                self._cache.unpin(lease.held)
            else:
                if lease.is_expected:  # its stream has begun
                    self._cache.resume(lease.held)
                if lease.watch is not None:
                    lease.watch.pop(lease, None)
                    lease.watch = None
                self._cache.unlease(lease.held, is_over=not lease.is_expected)

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
