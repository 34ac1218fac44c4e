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
        "digest",
        "due",
        "dues",
        "end",
        "first",
        "heap_seq",
        "hits",
        "id",
        "interval",
        "key",
        "last_use",
        "leases",
        "lock",
        "noted",
        "parent",
        "pins",
        "ready_step",
        "slots",
        "waiters",
        "whole_end",
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
        """Pins that end here; a pinned node is evicted last."""
        self.leases = 0
        """Live programs' streams that end here."""
        self.dues: list[float] = []
        """Ticks at which those are expected whose graph says it, rising."""
        self.hits = 0
        """Uses by others than who computed it."""
        self.last_use = 0
        self.interval = 0.0
        """Mean ticks between uses; 0: used once."""
        self.due = 0.0
        """The tick of its next use: what a live program said, or `last_use` and the interval."""
        self.ready_step = 0
        """The step that computes the span; requests of that step or a later one may share it."""
        self.whole_end = end
        """Length of the longest path that ever went through this node."""
        self.digest: int | None = None
        """CRC of the path's ids, once a policy that remembers asked for it."""
        self.noted = -1
        """The `last_use` under which the history knows its tokens."""
        self.heap_seq = 0
        """Number of the node's valid entry in the eviction order; 0: none."""
        self.waiters: dict[PageKey | None, dict[Any, bool]] | None = None
        """Who waits for this path to grow, by the page that it needs next (None: for its end), and who needs it now."""

    @property
    def start(self) -> int:
        """Length of the path before this node."""
        return self.end - self.key.size

    @property
    def is_watched(self) -> bool:
        """Somebody is to be told when the path grows or shrinks here."""
        return self.waiters is not None and any(self.waiters.values())

    @property
    def is_wanted(self) -> bool:
        """Somebody waits to go on from here now."""
        return self.waiters is not None and any(True in bucket.values() for bucket in self.waiters.values())

    def __repr__(self) -> str:
        return f"Node({self.id}, {self.start}..{self.end}, lock={self.lock}, children={len(self.children)})"
