"""Kept paths: token ids under a name, their K and V pinned in the cache until released, timed out or crowded out.

A lease is soft: memory pressure may evict its K and V (after everything that nobody leased), the ids stay known, and
the next request that extends the path recomputes what is gone.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from ...radix_cache.interface import PrefixCache
from ...radix_cache.node import Int32, Node

LEASE_TIMEOUT_S = 1800.0
_MAX_IDS = 64 * 1024 * 1024  # tokens of all leases: 256 MiB


class Lease(NamedTuple):
    ids: Int32
    node: Node
    namespace: str
    expires_s: float


class Leases:
    """By name, least recently used first."""

    def __init__(self, cache: PrefixCache) -> None:
        self._cache = cache
        self._leases: OrderedDict[str, Lease] = OrderedDict()
        self._num_ids = 0

    def __len__(self) -> int:
        return len(self._leases)

    def keep(self, name: str, ids: Int32, node: Node, namespace: str, now_s: float) -> None:
        """Replaces what had that name."""
        self._cache.pin(node)
        self.release(name)
        self._leases[name] = Lease(ids, node, namespace, now_s + LEASE_TIMEOUT_S)
        self._num_ids += ids.size
        while self._num_ids > _MAX_IDS:
            self.release(next(iter(self._leases)))

    def use(self, name: str, now_s: float) -> Lease | None:
        """The path of that name; its time starts anew."""
        lease = self._leases.get(name)
        if lease is not None:
            lease = self._leases[name] = lease._replace(expires_s=now_s + LEASE_TIMEOUT_S)
            self._leases.move_to_end(name)
        return lease

    def release(self, name: str) -> None:
        """Unknown names are none of our business."""
        lease = self._leases.pop(name, None)
        if lease is not None:
            self._cache.unpin(lease.node)
            self._num_ids -= lease.ids.size

    def expire(self, now_s: float) -> None:
        while self._leases:
            name, lease = next(iter(self._leases.items()))
            if lease.expires_s > now_s:
                break
            self.release(name)
