"""The radix tree of token ids: match, lock, publish, insert, evict. Source: SGLang paper (arXiv 2312.07104), section 3.

Ours: a match splits nothing; what a step is about to compute is published before it runs (every layer writes K and V
before it attends, so requests of one step share it); eviction is O(log n) and takes only the tail of a leaf where that
is enough. Nothing here looks at a clock or an address: the same calls build the same tree.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .audit import check_tree
from .events import EventLog, Evicted, Split, Stored
from .eviction import EvictionHeap, eviction_policy
from .interface import Match
from .node import EMPTY, Int32, Node, PageKey
from .slot_pool import SlotPool
from .stats import CacheStats

_MAX_EMPTY_ROOTS = 1024


class RadixTree:
    """A PrefixCache. One root for each namespace; keys and slots are whole pages."""

    def __init__(self, pool: SlotPool, *, policy: str = "lru", events: EventLog | None = None) -> None:
        """Raises ConfigError for an unknown policy."""
        self.pool = pool
        self.page_size = pool.page_size
        self.roots: dict[str, Node] = {}
        self.evictable_len = 0
        self.total_len = 0
        self.woken: list[Any] = []
        self.heap = EvictionHeap(eviction_policy(policy))
        self._events = events
        self._tick = 0
        self._num_ids = 0
        self._num_nodes = 0
        self._inserted_len = self._evicted_len = self._duplicate_len = 0
        self._pending: list[Node] = []
        self._max_roots = _MAX_EMPTY_ROOTS

    # ---- looking

    def match(self, ids: Int32, *, end: int, namespace: str = "", step: int = 0) -> Match:
        return self._walk(self._root(namespace), ids, 0, end, step)

    def extend(self, handle: Node, ids: Int32, *, end: int, step: int = 0) -> Match:
        return self._walk(handle, ids, handle.end, end, step)

    def clip(self, match: Match, length: int) -> Match:
        length -= length % self.page_size
        if match.length <= length:
            return match
        node = match.node
        while node.parent is not None and node.start >= length:
            node = node.parent
        return Match(node, length)

    def write_slots(self, handle: Node, row: Int32, *, start: int) -> None:
        node: Node | None = handle
        while node is not None and node.end > start:
            row[node.end - node.key.size : node.end] = node.slots
            node = node.parent

    def _walk(self, node: Node, ids: Int32, at: int, end: int, step: int) -> Match:
        page_size = self.page_size
        end -= (end - at) % page_size
        while at < end:
            child = node.children.get(self._first(ids, at))
            if child is None or child.ready_step > step:
                break
            key = child.key
            length = min(key.size, end - at)
            differs = key[:length] != ids[at : at + length]
            same = int(differs.argmax())
            if differs[same]:
                return Match(child, at + same - same % page_size)
            at += length
            node = child
        return Match(node, at)

    def _first(self, ids: Int32, at: int) -> PageKey:
        return int(ids[at]) if self.page_size == 1 else ids[at : at + self.page_size].tobytes()

    # ---- holding

    def lock(self, match: Match) -> Node:
        node = self._split_at(match)
        self._tick += 1
        tick = self._tick
        above: Node | None = node
        while above is not None:
            above.last_use = tick
            above.hits += 1
            self._hold(above)
            above = above.parent
        return node

    def move(self, handle: Node, match: Match) -> Node:
        node = self._split_at(match)
        self._tick += 1
        above = node
        while above is not handle:
            above.last_use = self._tick
            above.hits += 1
            self._hold(above)
            assert above.parent is not None, "the match does not lie below the handle"
            above = above.parent
        return node

    def unlock(self, handle: Node) -> None:
        node: Node | None = handle
        while node is not None:
            assert node.lock > 0, node
            node.lock -= 1
            if node.lock == 0:
                self.evictable_len += node.key.size
                self._offer(node)
            node = node.parent

    def pin(self, node: Node) -> None:
        node.pins += 1

    def unpin(self, node: Node) -> None:
        assert node.pins > 0, node
        node.pins -= 1
        if node.heap_seq:  # its priority fell
            self.heap.push(node)

    def _hold(self, node: Node) -> None:
        if node.lock == 0:
            self.evictable_len -= node.key.size
            self.heap.drop(node)
        node.lock += 1

    def _offer(self, node: Node) -> None:
        """Into the heap, if it is an unlocked leaf."""
        if node.lock == 0 and not node.children and node.parent is not None:
            self.heap.push(node)

    # ---- growing

    def publish(self, handle: Node, ids: Int32, slots: Int32, *, step: int) -> Node | None:
        if self._first(ids, 0) in handle.children:
            return None
        node = self._append(handle, ids, slots, step)
        self._pending.append(node)
        return self.move(handle, Match(node, node.end))

    def insert(self, handle: Node, ids: Int32, slots: Int32, *, fence: int | None = None) -> Node:
        node = handle
        match = self._walk(handle, ids, 0, ids.size, 2**62)
        same = match.length
        if same:
            node = self._split_at(Match(match.node, handle.end + same))
            self.pool.free(slots[:same], fence=fence)
            self._duplicate_len += same
        if same < ids.size:
            node = self._append(node, ids[same:], slots[same:], 0)
            self._offer(node)
        self._tick += 1
        node.last_use = self._tick
        return node

    def _append(self, parent: Node, ids: Int32, slots: Int32, ready_step: int) -> Node:
        assert ids.size == slots.size
        assert ids.size % self.page_size == 0
        assert ids.size > 0
        first = self._first(ids, 0)
        assert first not in parent.children
        node = self._new(ids.copy(), slots.copy(), parent, first, parent.end + ids.size)
        node.ready_step = ready_step
        if parent.lock == 0:
            self.heap.drop(parent)
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

    def wait(self, match: Match, ids: Int32, waiter: Any) -> dict[Any, None] | None:
        if match.length + self.page_size > ids.size:
            return None
        node = match.node
        if match.length < node.end:  # it can grow only by a split right there
            node = self._split_at(match)
        if node.waiters is None:
            node.waiters = {}
        bucket = node.waiters.setdefault(self._first(ids, match.length), {})
        bucket[waiter] = None
        return bucket

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
        return root

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
        upper.lock, upper.last_use, upper.hits, upper.ready_step = node.lock, node.last_use, node.hits, node.ready_step
        node.parent.children[node.first] = upper
        node.first = self._first(node.key, cut)
        node.key, node.slots, node.parent = node.key[cut:], node.slots[cut:], upper
        upper.children[node.first] = node
        if upper.ready_step and self._pending and node in self._pending:
            self._pending.append(upper)
        if self._events is not None:
            self._events.add(Split(node.id, upper.id, cut))
        return upper

    # ---- steps

    def commit(self, step: int) -> None:
        if self._pending:
            self._pending = [node for node in self._pending if node.ready_step > step]

    def discard(self, step: int) -> None:
        failed = {id(node): node for node in self._pending if node.ready_step == step}
        self._pending = [node for node in self._pending if node.ready_step != step]
        for node in sorted(failed.values(), key=lambda node: -node.end):  # children first
            self.heap.drop(node)
            self._remove(node)

    # ---- shrinking

    def evict(self, num_tokens: int) -> int:
        freed: list[Int32] = []
        freed_len = 0
        while freed_len < num_tokens:
            node = self.heap.pop()
            if node is None:
                break
            size = node.key.size
            keep = size - min(size, -(-(num_tokens - freed_len) // self.page_size) * self.page_size)
            freed.append(node.slots[keep:])
            freed_len += size - keep
            if keep:
                self._truncate(node, keep)
            else:
                self._remove(node, free=False)
        if freed:
            self.pool.free(freed[0] if len(freed) == 1 else np.concatenate(freed))
            self._evicted_len += freed_len
        return freed_len

    def flush(self) -> None:
        self.evict(self.evictable_len)

    def _truncate(self, node: Node, keep: int) -> None:
        gone = node.key.size - keep
        node.key = node.key[:keep] if keep * 2 > node.key.size else node.key[:keep].copy()
        node.slots = node.slots[:keep] if keep * 2 > node.slots.size else node.slots[:keep].copy()
        node.end -= gone
        self.total_len -= gone
        self.evictable_len -= gone
        self.heap.push(node)
        self._wake(node)
        if self._events is not None:
            self._events.add(Evicted(node.id, keep))

    def _remove(self, node: Node, *, free: bool = True) -> None:
        parent = node.parent
        assert parent is not None
        assert not node.children, node
        assert node.lock == 0, node
        assert not node.children
        assert node.lock == 0
        del parent.children[node.first]
        node.parent = None
        self.total_len -= node.key.size
        self.evictable_len -= node.key.size
        self._num_nodes -= 1
        if free:
            self.pool.free(node.slots)
        self._wake(node)
        self._offer(parent)
        if self._events is not None:
            self._events.add(Evicted(node.id, 0))

    def _wake(self, node: Node) -> None:
        """Its waiters' match shrank: they must look again."""
        if node.waiters:
            for waiting in node.waiters.values():
                self.woken.extend(waiting)
        node.waiters = None

    # ---- telling

    def stats(self) -> CacheStats:
        return CacheStats(
            self._num_nodes,
            self.total_len,
            self.evictable_len,
            self.total_len - self.evictable_len,
            self._inserted_len,
            self._evicted_len,
            self._duplicate_len,
        )

    def check(self) -> list[Int32]:
        return check_tree(self)
