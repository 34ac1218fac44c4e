"""A deterministic automaton over bytes: what all engines of this folder make, and all masks are computed from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

MAX_FORCED_BYTES = 1024  # at once; the rest is forced after these
MAX_COUNTED = 1_000_000  # strings


class ByteDfa:
    """Immutable. State 0 is dead, 1 the start; every other state can still reach acceptance.

    `table[state, byte_class[byte]]` is the next state. Strings it accepts are valid UTF-8.
    """

    def __init__(self, table: NDArray[np.int32], byte_class: NDArray[np.uint8], accepting: NDArray[np.bool_]) -> None:
        self.table = table
        self.byte_class = byte_class
        self.accepting = accepting

    @property
    def num_states(self) -> int:
        """The dead one included."""
        return len(self.table)

    @property
    def num_bytes(self) -> int:
        """Memory of the table."""
        return int(self.table.nbytes + self.accepting.nbytes + 256)

    @property
    def is_empty(self) -> bool:
        """Whether no string is accepted."""
        return not bool(self.accepting.any())

    def step(self, state: int, text: bytes) -> int:
        """The state after `text`; 0 if none."""
        after, classes = self.table.item, self._classes
        for byte in text:
            state = after(state, classes[byte])
            if not state:
                return 0
        return state

    @cached_property
    def _classes(self) -> bytes:
        return self.byte_class.tobytes()

    @cached_property
    def leads_on(self) -> bytes:
        """By state: 1 where a byte may follow."""
        return (self.table > 0).any(axis=1).tobytes()

    def accepts(self, text: bytes) -> bool:
        return bool(self.accepting[self.step(1, text)])

    def next_bytes(self, state: int) -> list[tuple[int, int]]:
        """(byte, next state) of all bytes that may follow, ascending."""
        targets = self.table[state][self.byte_class]
        return [(int(b), int(targets[b])) for b in np.flatnonzero(targets)]

    @cached_property
    def is_finite(self) -> bool:
        """Whether it accepts only finitely many strings: no state lies on a cycle."""
        return self._order is not None

    @cached_property
    def _order(self) -> list[int] | None:
        """States in an order in which every edge leads forward; None if there is a cycle."""
        following = [set(row[row > 0].tolist()) for row in self.table]
        waiting = np.zeros(self.num_states, np.int64)
        for targets in following:
            for target in targets:
                waiting[target] += 1
        ready = [s for s in range(1, self.num_states) if not waiting[s]]
        order = []
        while ready:
            state = ready.pop()
            order.append(state)
            for target in following[state]:
                waiting[target] -= 1
                if not waiting[target]:
                    ready.append(target)
        return order if len(order) == self.num_states - 1 else None

    def count(self, max_len: int) -> list[int]:
        """How many accepted strings have 0, 1, … `max_len` bytes."""
        widths = np.bincount(self.byte_class, minlength=self.table.shape[1])
        now = {1: 1}
        counts = []
        for _ in range(max_len + 1):
            counts.append(sum(n for state, n in now.items() if self.accepting[state]))
            after: dict[int, int] = {}
            for state, n in now.items():
                for c, target in enumerate(self.table[state]):
                    if target:
                        after[int(target)] = after.get(int(target), 0) + n * int(widths[c])
            now = after
        return counts

    @cached_property
    def num_after(self) -> list[float]:
        """How many strings each state accepts; more than MAX_COUNTED are infinite."""
        widths = np.bincount(self.byte_class, minlength=self.table.shape[1])
        edges = [[(int(row[c]), int(widths[c])) for c in np.flatnonzero(row)] for row in self.table]
        before: list[list[int]] = [[] for _ in edges]
        waiting = [0] * len(edges)
        for state, following in enumerate(edges):
            targets = {target for target, _ in following}
            waiting[state] = len(targets)
            for target in targets:
                before[target].append(state)
        counts = [math.inf] * len(edges)  # of what lies on a cycle, or before one
        ready = [state for state, count in enumerate(waiting) if not count]
        while ready:
            state = ready.pop()
            count = int(self.accepting[state]) + sum(width * counts[target] for target, width in edges[state])
            counts[state] = count if count <= MAX_COUNTED else math.inf
            for source in before[state]:
                waiting[source] -= 1
                if not waiting[source]:
                    ready.append(source)
        return counts

    @cached_property
    def distance(self) -> NDArray[np.int32]:
        """Bytes from each state to the nearest acceptance; -1 for the dead state."""
        distance = np.where(self.accepting, 0, -1).astype(np.int32)
        frontier = self.accepting.copy()
        steps = 0
        while frontier.any():
            steps += 1
            reaches = frontier[self.table].any(axis=1) & (distance < 0)
            reaches[0] = False
            distance[reaches] = steps
            frontier = reaches
        return distance

    def shortest_completion(self, state: int) -> bytes:
        """The shortest text from `state` to acceptance, the first by byte among equals."""
        text = bytearray()
        while self.distance[state] > 0:
            byte, state = next(
                (b, s) for b, s in self.next_bytes(state) if self.distance[s] == self.distance[state] - 1
            )
            text.append(byte)
        return bytes(text)

    def forced_bytes(self, state: int) -> tuple[bytes, int]:
        """The text that must follow, as far as there is no choice and no end before it; and the state after it."""
        text = bytearray()
        seen = {state}
        while not self.accepting[state] and len(text) < MAX_FORCED_BYTES:
            choices = self._single[state]
            if choices < 0:
                break
            text.append(choices)
            state = int(self.table[state, self.byte_class[choices]])
            if state in seen:
                break
            seen.add(state)
        return bytes(text), state

    @cached_property
    def _single(self) -> list[int]:
        """For each state the one byte that may follow, or -1."""
        widths = np.bincount(self.byte_class, minlength=self.table.shape[1])
        some_byte = np.zeros(self.table.shape[1], np.int64)
        some_byte[self.byte_class] = np.arange(256)
        live = self.table > 0
        single = (live * widths).sum(axis=1) == 1
        return [int(b) for b in np.where(single, some_byte[live.argmax(axis=1)], -1)]

    def strings(self) -> Iterator[bytes]:
        """The accepted strings, shortest first; endless when the language is."""
        level: list[tuple[bytes, int]] = [(b"", 1)]
        while level:
            yield from (text for text, state in level if self.accepting[state])
            level = [(text + bytes([b]), after) for text, state in level for b, after in self.next_bytes(state)]


def pack(table: NDArray[np.int32], accepting: NDArray[np.bool_]) -> ByteDfa:
    """From table[state, byte]: bytes that no state tells apart share a column."""
    columns = np.ascontiguousarray(table.T)
    ids: dict[bytes, int] = {}
    byte_class = np.array([ids.setdefault(column.tobytes(), len(ids)) for column in columns], np.uint8)
    first = np.unique(byte_class, return_index=True)[1]
    return ByteDfa(np.ascontiguousarray(columns[first].T), byte_class, accepting)
