"""The radix tree of token ids: match, lock, publish, insert, evict. Source: SGLang paper (arXiv 2312.07104), section 3.

Ours: a match splits nothing; what a step is about to compute is published before it runs (every layer writes K and V
before it attends, so requests of one step share it); eviction is O(log n) and takes only the tail of a leaf where that
is enough; a node whose only child is always used with it becomes one with it. Nothing here looks at a clock or an
address: the same calls build the same tree.
"""

from __future__ import annotations

from bisect import insort
from typing import Any

import numpy as np

from .audit import check_tree
from .history import Past
from .hold import Hold
from .interface import Match
from .node import Int32, Node
from .shape import TreeShape
from .stats import CacheStats

_MANY_BUCKETS = 64  # of waiters at one node: those that were left are cleared away each time there are twice as many


class RadixTree(TreeShape):
    """A PrefixCache. One root for each namespace; keys and slots are whole pages."""

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
            first = node.end - node.key.size
            if first >= start:
                row[first : node.end] = node.slots
            else:
                row[start : node.end] = node.slots[start - first :]
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

    # ---- holding

    def lock(self, match: Match, *, own: int = 0) -> Node:
        node = self._split_at(match)
        self._use(node, None, own)
        return node

    def move(self, handle: Node, match: Match) -> Node:
        node = self._split_at(match)
        self._use(node, handle, 0)
        self._join(handle)
        return node

    def _use(self, node: Node, above: Node | None, own: int) -> None:
        """Holds the path from below `above` to `node`; the part beyond the first `own` tokens is used by another."""
        self._tick += 1
        tick, used, at = self._tick, self.order.used, node
        while at is not above:
            if at.end > own and at.parent is not None:
                used(at, tick)
                at.hits += 1
                self._used_len += at.key.size
            at.last_use = tick
            self._hold(at)
            if at.parent is None:
                assert above is None, "the match does not lie below the handle"
                return
            at = at.parent

    def unlock(self, handle: Node) -> None:
        node: Node | None = handle
        while node is not None:
            assert node.lock > 0, node
            node.lock -= 1
            if node.lock == 0:
                self.evictable_len += node.key.size
                self._offer(node)
            node = node.parent
        self._join(handle)

    def pin(self, node: Node) -> None:
        node.pins += 1
        self._offer(node)

    def unpin(self, node: Node) -> None:
        assert node.pins > 0, node
        node.pins -= 1
        self._offer(node)

    def lease(self, match: Match, steps: int = 0) -> Hold:
        node = self._split_at(match)
        hold = Hold(node, steps, self._tick)
        node.leases += 1
        wait = self.order.foretold(steps) if steps else None
        if wait is not None:
            hold.due = self._tick + wait
        self._enter_due(hold)
        self._offer(node)
        return hold

    def follow(self, hold: Hold, match: Match) -> None:
        node = self._split_at(match)
        if node is not hold.node:
            hold.node.leases -= 1
            node.leases += 1
            self._drop_due(hold)
            self._offer(hold.node)
            hold.node = node
            self._enter_due(hold)
            self._offer(node)

    @staticmethod
    def _enter_due(hold: Hold) -> None:
        if hold.due is not None and hold.node.parent is not None:  # roots stay in any case
            insort(hold.node.dues, hold.due)

    @staticmethod
    def _drop_due(hold: Hold) -> None:
        if hold.due is not None and hold.node.parent is not None:  # a node that was evicted is nobody's any more
            hold.node.dues.remove(hold.due)

    def resume(self, hold: Hold) -> None:
        if not hold.is_open:  # branches of a fork follow one another at once
            return
        hold.is_open = False
        since = hold.since if hold.steps else hold.node.last_use
        self.order.resumed(self._tick - since, hold.steps)
        self._drop_due(hold)
        hold.due = None
        self._offer(hold.node)

    def unlease(self, hold: Hold, *, is_over: bool = True) -> None:
        node = hold.node
        assert node.leases > 0, node
        self._drop_due(hold)
        node.leases -= 1
        self._offer(node)
        if not is_over:
            return
        at = node
        while at.parent is not None and not (at.leases or at.pins or at.hits or at.interval or len(at.children) > 1):
            if any(child.leases or not child.interval for child in at.children.values()):
                break
            self.order.ended(at)
            self._offer(at)
            at = at.parent

    def _hold(self, node: Node) -> None:
        if node.lock == 0:
            self.evictable_len -= node.key.size
            self.order.drop(node)
        node.lock += 1

    # ---- growing

    def publish(self, handle: Node, ids: Int32, slots: Int32, *, step: int) -> Node | None:
        if self._first(ids, 0) in handle.children:
            return None
        node = self._append(handle, ids, slots, step)
        self._tick += 1
        at = node
        while at is not handle:
            at.last_use = self._tick
            self._hold(at)
            assert at.parent is not None
            at = at.parent
        return node

    def insert(self, handle: Node, ids: Int32, slots: Int32, *, fence: int | None = None) -> Node:
        match = self._walk(handle, ids, 0, ids.size, self._committed)
        same = match.length
        node = self._split_at(Match(match.node, handle.end + same)) if same else handle
        self._tick += 1
        if same < ids.size and self._first(ids, same) in node.children:  # a step to come computes it once more
            same = ids.size
        if same:
            self.pool.free(slots[:same], fence=fence)
            self._duplicate_len += same
        if same < ids.size:
            node = self._append(node, ids[same:], slots[same:], 0)
        node.last_use = self._tick
        self._offer(node)
        return node

    def grow(self, handle: Node, ids: Int32, slots: Int32, *, fence: int | None = None) -> Node | None:
        if self._first(ids, 0) not in handle.children:
            self._tick += 1
            node = at = self._append(handle, ids, slots, 0)
            node.last_use = self._tick
        else:
            found = self._walk(handle, ids, 0, ids.size, self._committed)
            at_end = found.length < ids.size and found.length + handle.end == found.node.end
            if at_end and self._first(ids, found.length) in found.node.children:
                return None
            node = at = self.insert(handle, ids, slots, fence=fence)
        while at is not handle:
            self._hold(at)
            assert at.parent is not None
            at = at.parent
        self._join(handle)
        return node

    def _append(self, parent: Node, ids: Int32, slots: Int32, ready_step: int) -> Node:
        """A new leaf of these tokens; two nodes where the first of them were here before."""
        assert ids.size == slots.size
        assert ids.size % self.page_size == 0
        assert ids.size > 0
        if self._history is not None:
            self.order.entered(ids.size)
            known = self._history.longest(parent.end, self._digest(parent), ids) if len(self._history) else None
            if known is not None:
                length, past = known
                length -= length % self.page_size
                if length:
                    parent = self._attach(parent, ids[:length], slots[:length], ready_step)
                    self._recall(parent, past)
                    ids, slots = ids[length:], slots[length:]
                    if not ids.size:
                        return parent
        return self._attach(parent, ids, slots, ready_step)

    def _recall(self, node: Node, past: Past) -> None:
        """The tokens were evicted once and are back: somebody used them again."""
        node.hits, node.interval, node.last_use = past.hits, past.interval, past.last_use
        self.order.used(node, self._tick + 1)
        node.hits += 1
        self._returned_len += node.key.size

    def wait(self, match: Match, ids: Int32, waiter: Any, *, is_now: bool = True) -> dict[Any, bool] | None:
        may_grow = match.length + self.page_size <= ids.size
        if is_now and not may_grow:
            return None
        node = match.node
        if match.length < node.end:  # it can grow only by a split right there
            node = self._split_at(match)
        if node.waiters is None:
            node.waiters = {}
        elif len(node.waiters) >= _MANY_BUCKETS and len(node.waiters).bit_count() == 1:
            node.waiters = {page: bucket for page, bucket in node.waiters.items() if bucket}
        bucket = node.waiters.setdefault(self._first(ids, match.length) if may_grow else None, {})
        bucket[waiter] = is_now
        self._offer(node)
        return bucket

    # ---- steps

    def commit(self, step: int) -> None:
        self._committed = step
        if self._pending:
            ready = [node for node in self._pending if node.ready_step <= step]
            self._pending = [node for node in self._pending if node.ready_step > step]
            for node in ready:
                if node.parent is not None:
                    self._join(node.parent)

    def discard(self, step: int) -> None:
        below = [node for node in self._pending if node.ready_step == step and node.parent is not None]
        self._pending = [node for node in self._pending if node.ready_step != step]
        failed: dict[int, Node] = {}
        while below:  # and what was inserted behind them since
            node = below.pop()
            failed[id(node)] = node
            below.extend(node.children.values())
        for node in sorted(failed.values(), key=lambda node: -node.end):  # children first
            if node.parent is None:  # it became one with its last child, and went with it
                continue
            self.order.drop(node)
            self.pool.free(node.slots)
            self._remove(node)

    # ---- shrinking

    def evict(self, num_tokens: int) -> int:
        freed: list[Int32] = []
        freed_len, tick = 0, self._tick
        while freed_len < num_tokens:
            node = self.order.pop(tick)
            if node is None:
                break
            size = node.key.size
            left = num_tokens - freed_len
            keep = 0 if size <= left else size - min(size, -(-left // self.page_size) * self.page_size)
            if self._history is not None:
                self._remember(node)
            freed_len += size - keep
            if keep:
                freed.append(node.slots[keep:])
                self._truncate(node, keep)
            else:
                freed.append(node.slots)
                self._remove(node)
        if freed:
            self.pool.free(freed[0] if len(freed) == 1 else np.concatenate(freed))
            self._evicted_len += freed_len
        return freed_len

    def flush(self) -> None:
        self.evict(self.evictable_len)
        if self._history is not None:
            self._history.clear()

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
            self._returned_len,
            self._used_len,
        )

    def check(self) -> list[Int32]:
        return check_tree(self)
