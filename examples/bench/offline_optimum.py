"""What a cache that knows the future would have reused: Belady's rule on the prefix tree, for one order of admissions.

Replayed are the admissions and ends of a run. Between them a request holds its path, as it did in the run; whatever
nobody holds may be evicted, and what is evicted is what is needed last (the deepest of it first: a prefix is needed at
least as soon as what follows it). Tokens that are never needed again go first, which costs it nothing.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from typing import NamedTuple

import numpy as np

_NEVER = 1 << 60


class Call(NamedTuple):
    """One request: ids of prompt and output."""

    ids: np.ndarray
    prompt_len: int


class _Node:
    __slots__ = ("children", "depth", "entry", "key", "lock", "parent", "resident", "uses")

    def __init__(self, key, parent, depth) -> None:
        self.key, self.parent, self.depth = key, parent, depth
        self.children: dict[int, _Node] = {}
        self.uses: list[int] = []
        """Numbers of the admissions whose prompt needs it, rising."""
        self.resident = self.lock = 0
        self.entry = 0


def _tree(calls: list[Call]) -> list[list[_Node]]:
    """The path of each call in the tree of all calls, prompts ending at nodes."""
    root = _Node(np.zeros(0, np.int32), None, 0)

    def insert(ids, end):
        node, at = root, 0
        while at < end:
            child = node.children.get(int(ids[at]))
            if child is None:
                child = node.children[int(ids[at])] = _Node(ids[at:end], node, end)
                return
            length = min(child.key.size, end - at)
            differs = np.flatnonzero(child.key[:length] != ids[at : at + length])
            same = int(differs[0]) if differs.size else length
            if same < child.key.size:
                upper = _Node(child.key[:same], node, at + same)
                node.children[int(ids[at])] = upper
                upper.children[int(child.key[same])] = child
                child.key, child.parent = child.key[same:], upper
                child = upper
            node, at = child, at + same

    for call in calls:
        insert(call.ids, call.prompt_len)
        insert(call.ids, call.ids.size)
    paths = []
    for number, call in enumerate(calls):
        node, at, path = root, 0, []
        while at < call.ids.size:
            node = node.children[int(call.ids[at])]
            at += node.key.size
            path.append(node)
            if at <= call.prompt_len:
                node.uses.append(number)
        paths.append(path)
    return paths


class Replay:
    """`events`: (is_admission, number of the call), in the order of the run. `capacity`: tokens; None: endless."""

    def __init__(self, calls: list[Call], events: list[tuple[bool, int]], capacity: int | None) -> None:
        self._paths = _tree(calls)
        self._capacity = capacity if capacity is not None else _NEVER
        self._used = self._now = self._num_entries = 0
        self._heap: list[tuple[int, int, int, _Node]] = []
        self.hit_len = self.prompt_len = 0
        for is_admission, number in events:
            if is_admission:
                self._admit(number, calls[number])
            else:
                self._end(number)

    def _admit(self, number: int, call: Call) -> None:
        self._now = number
        hit, whole = 0, True
        for node in self._paths[number]:
            if node.depth > call.prompt_len:
                break
            if whole:
                hit += node.resident
                whole = node.resident == node.key.size
            self._grow(node)
            node.lock += 1
        self.hit_len += min(hit, call.prompt_len - 1)
        self.prompt_len += call.prompt_len
        self._make_room()

    def _end(self, number: int) -> None:
        for node in self._paths[number]:
            place = bisect_right(node.uses, number) - 1
            if place >= 0 and node.uses[place] == number:
                node.lock -= 1
            else:
                self._grow(node)  # its output
            if not node.lock:
                self._offer(node)
        self._make_room()

    def _grow(self, node: _Node) -> None:
        self._used += node.key.size - node.resident
        node.resident = node.key.size
        node.entry = 0

    def _offer(self, node: _Node) -> None:
        place = bisect_right(node.uses, self._now)
        next_use = node.uses[place] if place < len(node.uses) else _NEVER
        self._num_entries += 1
        node.entry = self._num_entries
        heapq.heappush(self._heap, (-next_use, -node.depth, self._num_entries, node))

    def _make_room(self) -> None:
        while self._used > self._capacity and self._heap:
            _, _, entry, node = self._heap[0]
            if node.entry != entry or node.lock:
                heapq.heappop(self._heap)
                continue
            gone = min(node.resident, self._used - self._capacity)
            node.resident -= gone
            self._used -= gone
            if not node.resident:
                heapq.heappop(self._heap)
                node.entry = 0

    @property
    def hit_rate(self) -> float:
        return self.hit_len / max(1, self.prompt_len)


def working_set(calls: list[Call], events: list[tuple[bool, int]]) -> int:
    """The most tokens at one time that a running request holds or that will be used again."""
    paths = _tree(calls)
    change = np.zeros(len(events) + 1, np.int64)
    begun: dict[int, int] = {}
    ended: dict[int, int] = {}
    for at, (is_admission, number) in enumerate(events):
        (begun if is_admission else ended)[number] = at
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    sizes: dict[int, int] = {}
    for number, path in enumerate(paths):
        for node in path:
            sizes[id(node)] = node.key.size
            first[id(node)] = min(first.get(id(node), len(events)), begun[number])
            last[id(node)] = max(last.get(id(node), 0), ended[number])
    for node, size in sizes.items():
        change[first[node]] += size
        change[last[node] + 1] -= size
    return int(np.cumsum(change).max())
