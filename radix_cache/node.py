"""A node of the radix tree: a span of token ids with the KV slots that hold them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Int32 = NDArray[np.int32]
PageKey = int | bytes
"""The first page of a node's key: the token itself when pages hold one token, else the page's bytes."""

EMPTY: Int32 = np.zeros(0, np.int32)


class Node:
    """`key` follows the parent's path; `end` is the length of the whole path with `key`."""

    __slots__ = (
        "children",
        "end",
        "first",
        "heap_seq",
        "hits",
        "id",
        "key",
        "last_use",
        "lock",
        "parent",
        "pins",
        "ready_step",
        "slots",
        "value",
        "value_use",
        "waiters",
    )

    def __init__(self, id: int, key: Int32, slots: Int32, parent: Node | None, first: PageKey, end: int) -> None:
        self.id = id
        self.key = key
        self.slots = slots
        self.parent = parent
        self.first = first
        self.end = end
        self.children: dict[PageKey, Node] = {}
        self.lock = 0
        """Handles at this node or below; a locked node is never evicted."""
        self.pins = 0
        """Leases and pins that end here; a pinned node is evicted last."""
        self.hits = 0
        self.last_use = 0
        self.ready_step = 0
        """The step that computes the span; requests of that step or a later one may share it."""
        self.value = 0.0
        self.value_use = -1
        """A policy's own number, and the `last_use` that it was computed for."""
        self.heap_seq = 0
        """Number of the node's valid entry in the eviction heap; 0: none."""
        self.waiters: dict[PageKey, dict[Any, None]] | None = None
        """Who waits for this path to grow, by the page that it needs next."""

    @property
    def start(self) -> int:
        """Length of the path before this node."""
        return self.end - self.key.size

    def __repr__(self) -> str:
        return f"Node({self.id}, {self.start}..{self.end}, lock={self.lock}, children={len(self.children)})"
