"""The shape of the radix tree: nodes attached, split, joined, shortened and taken off, and the counts of them.

Every change keeps (token, slot) pairs, tells the event log, and keeps the order of eviction the set of unlocked leaves.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from .events import EventLog, Evicted, Merged, Split, Stored
from .eviction import eviction_order
from .history import BLOCK, History, Past
from .interface import Match
from .node import EMPTY, Int32, Node, PageKey
from .slot_pool import SlotPool

_MAX_EMPTY_ROOTS = 1024
_MAX_JOINED = 4096  # tokens: beyond that, copying costs more than another node on the path


class TreeShape:
    """One root for each namespace; keys and slots are whole pages."""

    def __init__(self, pool: SlotPool, *, policy: str = "program-gdsf", events: EventLog | None = None) -> None:
        """Raises ConfigError for an unknown policy."""
        self.pool = pool
        self.page_size = pool.page_size
        self.roots: dict[str, Node] = {}
        self.evictable_len = 0
        self.total_len = 0
        self.woken: list[Any] = []
        self.order = eviction_order(policy)
        self._history = History(pool.num_slots) if self.order.remembers else None
        self._events = events
        self._tick = 0
        self._num_ids = 0
        self._num_nodes = 0
        self._inserted_len = self._evicted_len = self._duplicate_len = self._returned_len = self._used_len = 0
        self._pending: list[Node] = []
        """What steps that are not committed compute."""
        self._committed = 0
        self._max_roots = _MAX_EMPTY_ROOTS

    def _first(self, ids: Int32, at: int) -> PageKey:
        return int(ids[at]) if self.page_size == 1 else ids[at : at + self.page_size].tobytes()

    def _offer(self, node: Node) -> None:
        """Into the order of eviction, or there anew, if it is an unlocked leaf."""
        if node.lock == 0 and not node.children and node.parent is not None:
            self.order.push(node)

    def _attach(self, parent: Node, ids: Int32, slots: Int32, ready_step: int) -> Node:
        first = self._first(ids, 0)
        assert first not in parent.children
        node = self._new(ids.copy(), slots.copy(), parent, first, parent.end + ids.size)
        if ready_step:
            node.ready_step = ready_step
            self._pending.append(node)
        if parent.lock == 0:
            self.order.drop(parent)
        parent.children[first] = node
        self.total_len += ids.size
        self.evictable_len += ids.size
        self._inserted_len += ids.size
        if parent.waiters is not None and (waiting := parent.waiters.pop(first, None)):
            self.woken.extend(waiting)
        if self._events is not None:
            namespace = parent.first.decode() if isinstance(parent.first, bytes) and parent.end == 0 else None
            self._events.add(Stored(node.id, parent.id, namespace, ids.tolist()))
        return node

    def _new(self, key: Int32, slots: Int32, parent: Node | None, first: PageKey, end: int) -> Node:
        self._num_ids += 1
        self._num_nodes += 1
        return Node(self._num_ids, key, slots, parent, first, end)

    def _root(self, namespace: str) -> Node:
        root = self.roots.get(namespace)
        if root is None:
            if len(self.roots) >= self._max_roots:
                for name in [name for name, node in self.roots.items() if not node.children and not node.lock]:
                    del self.roots[name]
                    self._num_nodes -= 1
                self._max_roots = max(_MAX_EMPTY_ROOTS, 2 * len(self.roots))
            root = self.roots[namespace] = self._new(EMPTY, EMPTY, None, namespace.encode(), 0)
            root.digest = zlib.crc32(namespace.encode())
        return root

    # ---- changing shape

    def _split_at(self, match: Match) -> Node:
        """The node that ends exactly where the match does. A split leaves `node` the lower part: handles stay valid."""
        node, length = match
        if length == node.end:
            return node
        cut = length - node.start
        assert 0 < cut < node.key.size, match
        assert cut % self.page_size == 0, match
        assert node.parent is not None, match
        upper = self._new(node.key[:cut], node.slots[:cut], node.parent, node.first, length)
        upper.lock, upper.ready_step, upper.whole_end = node.lock, node.ready_step, node.whole_end
        upper.last_use, upper.hits, upper.interval = node.last_use, node.hits, node.interval
        node.parent.children[node.first] = upper
        node.first = self._first(node.key, cut)
        node.key, node.slots, node.parent = node.key[cut:], node.slots[cut:], upper
        upper.children[node.first] = node
        if upper.ready_step and self._pending and node in self._pending:
            self._pending.append(upper)
        if self._events is not None:
            self._events.add(Split(node.id, upper.id, cut))
        return upper

    def _join(self, node: Node) -> None:
        """Makes `node` one with its only child, where nobody's path ends between them and both are used alike.

        The child remains: handles on it stay valid.
        """
        if len(node.children) != 1 or node.parent is None or node.pins or node.leases:
            return
        if node.is_watched:
            return
        (child,) = node.children.values()
        if child.lock != node.lock or bool(child.hits) != bool(node.hits) or node.hits > child.hits + 1:
            return
        if child.key.size + node.key.size > _MAX_JOINED or (self._pending and self._is_pending(node, child)):
            return
        child.key = np.concatenate((node.key, child.key))
        child.slots = np.concatenate((node.slots, child.slots))
        child.first, child.parent = node.first, node.parent
        child.hits, child.last_use = max(node.hits, child.hits), max(node.last_use, child.last_use)
        child.interval = max(node.interval, child.interval)
        node.parent.children[node.first] = child
        node.children, node.parent = {}, None
        self._num_nodes -= 1
        self._offer(child)
        if self._events is not None:
            self._events.add(Merged(child.id, node.id))

    def _is_pending(self, node: Node, child: Node) -> bool:
        return node in self._pending or child in self._pending

    def _remember(self, node: Node) -> None:
        """A leaf loses tokens: notes when they were used, unless that is noted since its last use."""
        assert self._history is not None
        assert node.parent is not None
        if node.noted == node.last_use or node.end // BLOCK == node.start // BLOCK:
            return
        node.noted = node.last_use
        past = Past(node.last_use, node.interval if node.hits else 0.0, node.hits)
        self._history.add(node.start, self._digest(node.parent), node.key, past)

    def _digest(self, node: Node) -> int:
        """CRC of the path's ids; each node keeps its own until it is shortened."""
        path = []
        while node.digest is None:
            path.append(node)
            assert node.parent is not None
            node = node.parent
        digest = node.digest
        for below in reversed(path):
            digest = below.digest = zlib.crc32(below.key.data, digest)
        return digest

    def _truncate(self, node: Node, keep: int) -> None:
        gone = node.key.size - keep
        node.key = node.key[:keep] if keep * 2 > node.key.size else node.key[:keep].copy()
        node.slots = node.slots[:keep] if keep * 2 > node.slots.size else node.slots[:keep].copy()
        node.end -= gone
        node.digest = None
        self.total_len -= gone
        self.evictable_len -= gone
        self.order.push(node)
        self._wake(node)
        if self._events is not None:
            self._events.add(Evicted(node.id, keep))

    def _remove(self, node: Node) -> None:
        """Takes an unlocked leaf off; its slots are the caller's to free."""
        parent = node.parent
        assert parent is not None
        assert not node.children, node
        assert node.lock == 0, node
        del parent.children[node.first]
        node.parent = None
        self.total_len -= node.key.size
        self.evictable_len -= node.key.size
        self._num_nodes -= 1
        if node.waiters is not None:
            self._wake(node)
        if parent.parent is not None:
            if node.whole_end > parent.whole_end:
                parent.whole_end = node.whole_end
            if parent.children:
                self._join(parent)
            elif parent.lock == 0:
                self.order.push(parent)
        if self._events is not None:
            self._events.add(Evicted(node.id, 0))

    def _wake(self, node: Node) -> None:
        """Its waiters' match shrank: they must look again."""
        if node.waiters:
            for waiting in node.waiters.values():
                self.woken.extend(waiting)
        node.waiters = None
