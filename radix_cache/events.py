"""What happens in the tree, for routers and pages that mirror it: a bounded log that a reader drains."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple


class Stored(NamedTuple):
    """A new node: `token_ids` follow the path of `parent_id`; a root is named by its namespace."""

    node_id: int
    parent_id: int
    namespace: str | None
    token_ids: list[int]


class Split(NamedTuple):
    """`upper_id` is new and took the first `length` tokens of `node_id`, which is now its child."""

    node_id: int
    upper_id: int
    length: int


class Evicted(NamedTuple):
    """`length` tokens are left of the node; 0: it is gone."""

    node_id: int
    length: int


class Merged(NamedTuple):
    """`upper_id`, the parent of `node_id`, became its first part and is gone."""

    node_id: int
    upper_id: int


KvEvent = Stored | Split | Evicted | Merged


class EventLog:
    """The last events; `missed` tells a slow reader to start over from a snapshot."""

    def __init__(self, max_events: int = 65536) -> None:
        self._events: deque[KvEvent] = deque(maxlen=max_events)
        self.missed = False

    def __len__(self) -> int:
        return len(self._events)

    def add(self, event: KvEvent) -> None:
        if len(self._events) == self._events.maxlen:
            self.missed = True
        self._events.append(event)

    def drain(self) -> list[KvEvent]:
        events = list(self._events)
        self._events.clear()
        self.missed = False
        return events
