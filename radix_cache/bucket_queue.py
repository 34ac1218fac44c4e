"""A priority queue whose cost hardly grows with its length: numbers that lie close together share a bucket.

A heap of a million entries touches twenty cold places of memory for each that is taken; here the lowest bucket is
sorted once, and then only its end is touched. Made for numbers that spread (ticks): a bucket of thousands of equal ones
would have to be sorted at once.
"""

from __future__ import annotations

import heapq
from bisect import insort

from .node import Node

_WIDTH = 256.0  # of a bucket, in the entries' numbers

Entry = tuple[float, int, Node]
"""(-number, -sequence number, node): kept negative, so that the lowest stands at the end of a sorted list."""


class BucketQueue:
    """Nodes by number, lowest first, equals in order of entry. An entry counts while its node's `heap_seq` is its."""

    __slots__ = ("_buckets", "_head", "_head_id", "_ids", "size")

    def __init__(self) -> None:
        self._buckets: dict[float, list[Entry]] = {}
        self._ids: list[float] = []
        self._head: list[Entry] = []
        self._head_id = 0.0
        self.size = 0
        """Entries, the stale ones included."""

    def push(self, number: float, node: Node) -> None:
        entry = (-number, -node.heap_seq, node)
        self.size += 1
        bucket_id = number // _WIDTH
        if self._head and bucket_id <= self._head_id:
            insort(self._head, entry)
            return
        bucket = self._buckets.get(bucket_id)
        if bucket is None:
            self._buckets[bucket_id] = [entry]
            heapq.heappush(self._ids, bucket_id)
        else:
            bucket.append(entry)

    def head(self) -> float | None:
        """The lowest number; None when nothing is left."""
        while True:
            head = self._head
            while head:
                number, seq, node = head[-1]
                if node.heap_seq == -seq:
                    return -number
                head.pop()
                self.size -= 1
            if not self._ids:
                return None
            self._head_id = heapq.heappop(self._ids)
            self._head = self._buckets.pop(self._head_id)
            self._head.sort()

    def pop(self) -> Node:
        """Takes what `head` just told of."""
        self.size -= 1
        return self._head.pop()[2]

    def compact(self) -> None:
        """Forgets stale entries."""
        live = [(-number, node) for number, _, node in self._entries()]
        self._buckets, self._ids, self._head, self.size = {}, [], [], 0
        for number, node in live:
            self.push(number, node)

    def nodes(self) -> list[Node]:
        return [node for _, _, node in self._entries()]

    def _entries(self) -> list[Entry]:
        lists = (self._head, *self._buckets.values())
        return [entry for entries in lists for entry in entries if entry[2].heap_seq == -entry[1]]
