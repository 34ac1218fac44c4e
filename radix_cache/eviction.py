"""Which unlocked leaf goes first: policies by name, and queues that never scan.

Each order is the set of unlocked leaves. An entry of a node that was locked, grew children or was entered anew is
stale: recognised by its sequence number, and compacted away when stale entries outnumber the others two to one. Nothing
looks at a clock: time is the tree's tick, one for each use of a path.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ..errors import ConfigError
from .bucket_queue import BucketQueue
from .node import Node

_CLASS = float(2**52)  # above any tick: separates classes of nodes inside one float
_SLOW_TAIL = 256  # tokens: a prompt is recomputed that far without the user noticing


class EvictionOrder(Protocol):
    """What the tree asks of a policy."""

    remembers: bool
    """Wants the tree to keep a History of what it evicted, and digests of its paths."""

    def __len__(self) -> int: ...

    def push(self, node: Node) -> None:
        """Enters an unlocked leaf, or enters it anew because what is known of it changed."""
        ...

    def drop(self, node: Node) -> None:
        """The node is no unlocked leaf any more."""
        ...

    def pop(self, tick: int) -> Node | None:
        """The node to evict next; it has left the order."""
        ...

    def used(self, node: Node, tick: int) -> None:
        """Somebody else than who computed it uses the node; `last_use` and `hits` are still those of before."""
        ...

    def entered(self, num_tokens: int) -> None:
        """That many new tokens were inserted."""
        ...

    def foretold(self, steps: int) -> float | None:
        """Ticks that programs take for so many calls; None where they tell nothing."""
        ...

    def resumed(self, waited: int, steps: int) -> None:
        """A live program came back to a path that it had left alone for so many ticks, and calls (0: not known)."""
        ...

    def ended(self, node: Node) -> None:
        """No live program holds the node any more, and nobody else ever used it."""
        ...

    def nodes(self) -> list[Node]:
        """The entered nodes, for audits."""
        ...


class NumberOrder:
    """By one number a node, the lowest first; pinned and leased nodes after all others.

    Ties go in the order of entry, so that runs repeat exactly.
    """

    remembers = False

    def __init__(self, number: Callable[[Node], float]) -> None:
        self._number = number
        self._queue = BucketQueue()
        self._seq = 0
        self._len = 0

    def __len__(self) -> int:
        return self._len

    def push(self, node: Node) -> None:
        if not node.heap_seq:
            self._len += 1
        self._seq += 1
        node.heap_seq = self._seq
        number = self._number(node)
        if node.pins or node.leases:
            number += 2 * _CLASS if node.pins else _CLASS
        self._queue.push(number, node)
        if self._queue.size > 3 * self._len + 64:
            self._queue.compact()

    def drop(self, node: Node) -> None:
        if node.heap_seq:
            node.heap_seq = 0
            self._len -= 1

    def pop(self, tick: int) -> Node | None:
        if self._queue.head() is None:
            return None
        node = self._queue.pop()
        node.heap_seq = 0
        self._len -= 1
        return node

    def used(self, node: Node, tick: int) -> None:
        pass

    def entered(self, num_tokens: int) -> None:
        pass

    def foretold(self, steps: int) -> float | None:
        return None

    def resumed(self, waited: int, steps: int) -> None:
        pass

    def ended(self, node: Node) -> None:
        pass

    def nodes(self) -> list[Node]:
        return self._queue.nodes()


def lru(node: Node) -> float:
    """Least recently used first."""
    return float(node.last_use)


def lfu(node: Node) -> float:
    """Least often used first, then least recently."""
    return float(min(node.hits, 255)) * 2.0**44 + node.last_use


def slru(node: Node) -> float:
    """Segmented LRU: what was never used twice goes before what was."""
    return node.last_use + (2.0**48 if node.hits >= 2 else 0.0)


def tlru(node: Node) -> float:
    """Tail-optimised LRU (arXiv 2510.15152): ends of long paths go first, as far as nobody notices computing them."""
    is_tail = node.end > node.whole_end - _SLOW_TAIL
    return node.last_use - (2.0**48 if is_tail else 0.0)


def eviction_order(name: str) -> EvictionOrder:
    """Raises ConfigError for a name that is none of POLICIES."""
    if name not in POLICIES:
        raise ConfigError(
            f"--radix-eviction-policy must be one of {', '.join(POLICIES)}, found {name!r}",
            param="radix_eviction_policy",
        )
    return POLICIES[name]()


def _program_gdsf() -> EvictionOrder:
    from .reuse_order import ReuseOrder

    return ReuseOrder()


POLICIES: dict[str, Callable[[], EvictionOrder]] = {
    "lru": lambda: NumberOrder(lru),
    "lfu": lambda: NumberOrder(lfu),
    "slru": lambda: NumberOrder(slru),
    "tlru": lambda: NumberOrder(tlru),
    "program-gdsf": _program_gdsf,
}
