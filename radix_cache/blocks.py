"""The tree's events as blocks of a fixed size, named by a hash of all that comes before: what routers of others mirror.

A node may be any length and is split and joined at will; a block is what lies between two multiples of `block_size` on
a path, and is stored or removed whole. The hash of a block covers the model, the type of K and V, the namespace and
every token from the beginning of the path, so that equal hashes mean equal K and V, on any replica.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np

from .events import Evicted, KvEvent, Merged, Split, Stored
from .node import EMPTY, Int32


class BlocksStored(NamedTuple):
    """`token_ids` of whole blocks that follow the one of `parent_hash` (None: they begin the path)."""

    hashes: list[int]
    parent_hash: int | None
    token_ids: list[int]
    namespace: str


class BlocksRemoved(NamedTuple):
    hashes: list[int]


BlockEvent = BlocksStored | BlocksRemoved


class _Span:
    """A node as far as its blocks go. `hashes`: of the blocks that end in it."""

    __slots__ = ("hashes", "ids", "namespace", "parent", "start")

    def __init__(self, parent: int | None, start: int, ids: Int32, namespace: str) -> None:
        self.parent = parent
        self.start = start
        self.ids = ids
        self.namespace = namespace
        self.hashes: list[int] = []

    @property
    def stop(self) -> int:
        return self.start + int(self.ids.size)


class BlockMirror:
    """Follows a tree by its events."""

    def __init__(self, block_size: int, identity: str) -> None:
        """identity: what K and V depend on besides tokens and namespace: the model and the type of K and V."""
        self.block_size = block_size
        self._identity = identity
        self._spans: dict[int, _Span] = {}

    def apply(self, events: list[KvEvent]) -> list[BlockEvent]:
        """What they mean in blocks, in order."""
        told: list[BlockEvent] = []
        for event in events:
            if isinstance(event, Stored):
                told += self._stored(event)
            elif isinstance(event, Split):
                self._split(event)
            elif isinstance(event, Merged):
                self._merged(event)
            else:
                told += self._evicted(event)
        return told

    def _stored(self, event: Stored) -> list[BlockEvent]:
        parent = self._spans.get(event.parent_id)
        start = parent.stop if parent is not None else 0
        namespace = parent.namespace if parent is not None else event.namespace or ""
        ids = np.array(event.token_ids, np.int32)
        span = self._spans[event.node_id] = _Span(
            event.parent_id if parent is not None else None, start, ids, namespace
        )
        size = self.block_size
        first = start - start % size
        if span.stop - first < size:
            return []
        tokens = np.concatenate((self._tail(span.parent, start - first), ids))
        before = self._last_hash(span.parent, first)
        named, hashes = before, span.hashes
        for at in range(0, tokens.size - size + 1, size):
            named = self._hash(named, tokens[at : at + size], namespace)
            hashes.append(named)
        whole = len(hashes) * size
        return [BlocksStored(list(hashes), before, tokens[:whole].tolist(), namespace)]

    def _split(self, event: Split) -> None:
        lower = self._spans[event.node_id]
        upper = _Span(lower.parent, lower.start, lower.ids[: event.length], lower.namespace)
        num = upper.stop // self.block_size - upper.start // self.block_size
        upper.hashes, lower.hashes = lower.hashes[:num], lower.hashes[num:]
        lower.parent, lower.start, lower.ids = event.upper_id, upper.stop, lower.ids[event.length :]
        self._spans[event.upper_id] = upper

    def _merged(self, event: Merged) -> None:
        upper, lower = self._spans.pop(event.upper_id), self._spans[event.node_id]
        lower.parent, lower.start = upper.parent, upper.start
        lower.ids, lower.hashes = np.concatenate((upper.ids, lower.ids)), upper.hashes + lower.hashes

    def _evicted(self, event: Evicted) -> list[BlockEvent]:
        span = self._spans[event.node_id]
        span.ids = span.ids[: event.length].copy()
        num = span.stop // self.block_size - span.start // self.block_size
        gone, span.hashes = span.hashes[num:], span.hashes[:num]
        if not event.length:
            del self._spans[event.node_id]
        return [BlocksRemoved(gone)] if gone else []

    def _tail(self, span_id: int | None, length: int) -> Int32:
        """The last `length` tokens of the path that ends with a span."""
        parts: list[Int32] = [EMPTY]
        while length and span_id is not None:
            span = self._spans[span_id]
            taken = min(length, int(span.ids.size))
            parts.append(span.ids[int(span.ids.size) - taken :])
            length -= taken
            span_id = span.parent
        return np.concatenate(parts[::-1])

    def _last_hash(self, span_id: int | None, stop: int) -> int | None:
        """Of the block that ends at `stop` on that path."""
        while stop and span_id is not None:
            span = self._spans[span_id]
            if span.start < stop:
                return span.hashes[stop // self.block_size - span.start // self.block_size - 1]
            span_id = span.parent
        return None

    def _hash(self, before: int | None, tokens: Int32, namespace: str) -> int:
        """63 bits: what other engines' consumers keep in a signed integer."""
        head = f"{self._identity}\0{namespace}" if before is None else str(before)
        digest = hashlib.blake2b(tokens.tobytes(), digest_size=8, key=hashlib.blake2b(head.encode()).digest()[:32])
        return int.from_bytes(digest.digest(), "big") >> 1

    def snapshot(self) -> list[BlockEvent]:
        """All blocks as stored, parents first: for a reader that joins late."""
        told: list[BlockEvent] = []
        for span in sorted(self._spans.values(), key=lambda span: span.start):
            if span.hashes:
                first = span.start - span.start % self.block_size
                tokens = np.concatenate((self._tail(span.parent, span.start - first), span.ids))
                whole = len(span.hashes) * self.block_size
                before = self._last_hash(span.parent, first)
                told.append(BlocksStored(list(span.hashes), before, tokens[:whole].tolist(), span.namespace))
        return told
