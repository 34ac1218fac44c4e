"""Which unlocked leaf goes first: policies by name, and a heap that never scans.

A policy gives each leaf a number, the lowest goes first. It may rise while an entry lies in the heap (the node was used
again): a popped entry that is too low goes back with today's number. Entries of nodes that were locked or grew children
are stale: recognised by their sequence number, and compacted away when they outnumber the others two to one.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

from ..errors import ConfigError
from .node import Node

_CLASS = float(2**52)  # above any tick: separates classes of nodes inside one float
_ATTENTION_TOKENS = 4096.0  # depth at which attention costs as much as the rest of the layer, roughly


class EvictionPolicy:
    """lru: least recently used first."""

    def priority(self, node: Node) -> float:
        return float(node.last_use)

    def evicted(self, priority: float) -> None:
        """The lowest priority was evicted (inflation)."""


class Lfu(EvictionPolicy):
    """Least often used first, then least recently."""

    def priority(self, node: Node) -> float:
        return float(min(node.hits, 4095)) * 2**40 + node.last_use


class Slru(EvictionPolicy):
    """Segmented LRU: what was never used twice goes before what was."""

    def priority(self, node: Node) -> float:
        return node.last_use + (2.0**48 if node.hits >= 2 else 0.0)


class ProgramGdsf(EvictionPolicy):
    """GreedyDual-Size-Frequency (Cherkasova 1998): inflation + hits x cost / size, the cost being the prefill saved.

    A token deeper in a prompt costs more to recompute (attention), so cost / size grows with depth.
    """

    def __init__(self) -> None:
        self._inflation = 0.0

    def priority(self, node: Node) -> float:
        if node.value_use != node.last_use:  # inflated once per use, not at every look
            node.value = self._inflation + max(1, node.hits) * (1.0 + node.end / _ATTENTION_TOKENS)
            node.value_use = node.last_use
        return node.value

    def evicted(self, priority: float) -> None:
        if priority < _CLASS:
            self._inflation = max(self._inflation, priority)


POLICIES: dict[str, Callable[[], EvictionPolicy]] = {
    "lru": EvictionPolicy,
    "lfu": Lfu,
    "slru": Slru,
    "program-gdsf": ProgramGdsf,
}


def eviction_policy(name: str) -> EvictionPolicy:
    """Raises ConfigError for a name that is none of POLICIES."""
    if name not in POLICIES:
        raise ConfigError(
            f"--radix-eviction-policy must be one of {', '.join(POLICIES)}, found {name!r}",
            param="radix_eviction_policy",
        )
    return POLICIES[name]()


class EvictionHeap:
    """The unlocked leaves, lowest priority first; ties in the order of entry, so that runs repeat exactly."""

    def __init__(self, policy: EvictionPolicy) -> None:
        self.policy = policy
        self._heap: list[tuple[float, int, Node]] = []
        self._seq = 0
        self._stale = 0

    def __len__(self) -> int:
        return len(self._heap) - self._stale

    def priority(self, node: Node) -> float:
        return self.policy.priority(node) + (_CLASS if node.pins else 0.0)

    def push(self, node: Node) -> None:
        """Enters a node, or enters it anew when its priority fell."""
        self.drop(node)
        self._seq += 1
        node.heap_seq = self._seq
        heapq.heappush(self._heap, (self.priority(node), self._seq, node))

    def drop(self, node: Node) -> None:
        """The node is no unlocked leaf any more."""
        if node.heap_seq:
            node.heap_seq = 0
            self._stale += 1
            if self._stale > 2 * len(self) + 64:
                self._compact()

    def pop(self) -> Node | None:
        """The node to evict next; it has left the heap."""
        heap = self._heap
        while heap:
            priority, seq, node = heapq.heappop(heap)
            if node.heap_seq != seq:
                self._stale -= 1
                continue
            now = self.priority(node)
            if now > priority:
                heapq.heappush(heap, (now, seq, node))
                continue
            node.heap_seq = 0
            self.policy.evicted(priority)
            return node
        return None

    def nodes(self) -> list[Node]:
        """The live entries, for audits."""
        return [node for _, seq, node in self._heap if node.heap_seq == seq]

    def _compact(self) -> None:
        self._heap = [entry for entry in self._heap if entry[2].heap_seq == entry[1]]
        heapq.heapify(self._heap)
        self._stale = 0
