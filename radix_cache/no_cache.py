"""PrefixCache that remembers nothing: the baseline to measure against (--disable-radix-cache)."""

from __future__ import annotations

from typing import Any

from .hold import Hold
from .interface import Match
from .node import EMPTY, Int32, Node
from .slot_pool import SlotPool
from .stats import CacheStats


class NoCache:
    """Every match is empty; what is inserted is freed at once."""

    def __init__(self, pool: SlotPool) -> None:
        self.pool = pool
        self.page_size = pool.page_size
        self.evictable_len = 0
        self.total_len = 0
        self.woken: list[Any] = []
        self._root = Node(1, EMPTY, EMPTY, None, b"", 0)

    def match(self, ids: Int32, *, end: int, namespace: str = "", step: int = 0) -> Match:
        return Match(self._root, 0)

    def extend(self, handle: Node, ids: Int32, *, end: int, step: int = 0) -> Match:
        return Match(self._root, 0)

    def clip(self, match: Match, length: int) -> Match:
        return match

    def lock(self, match: Match, *, own: int = 0) -> Node:
        self._root.lock += 1
        return self._root

    def move(self, handle: Node, match: Match) -> Node:
        return handle

    def unlock(self, handle: Node) -> None:
        self._root.lock -= 1

    def write_slots(self, handle: Node, row: Int32, *, start: int) -> None:
        pass

    def publish(self, handle: Node, ids: Int32, slots: Int32, *, step: int) -> Node | None:
        return None

    def insert(self, handle: Node, ids: Int32, slots: Int32, *, fence: int | None = None) -> Node:
        self.pool.free(slots, fence=fence)
        return self._root

    def grow(self, handle: Node, ids: Int32, slots: Int32, *, fence: int | None = None) -> Node | None:
        return None

    def commit(self, step: int) -> None:
        pass

    def discard(self, step: int) -> None:
        pass

    def evict(self, num_tokens: int) -> int:
        return 0

    def pin(self, node: Node) -> None:
        pass

    def unpin(self, node: Node) -> None:
        pass

    def lease(self, match: Match, steps: int = 0) -> Hold:
        return Hold(match.node, steps, 0)

    def resume(self, hold: Hold) -> None:
        pass

    def follow(self, hold: Hold, match: Match) -> None:
        pass

    def unlease(self, hold: Hold, *, is_over: bool = True) -> None:
        pass

    def wait(self, match: Match, ids: Int32, waiter: Any, *, is_now: bool = True) -> dict[Any, bool] | None:
        return None

    def flush(self) -> None:
        pass

    def stats(self) -> CacheStats:
        return CacheStats(1, 0, 0, 0, 0, 0, 0, 0, 0)

    def check(self) -> list[Int32]:
        return []
