"""Objects that clients leave here, bounded in number and bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class Shelf(Generic[T]):
    """In the order in which they came. What does not fit is not taken: nothing that was taken is dropped for it."""

    def __init__(self, max_items: int, max_bytes: int) -> None:
        self._items: dict[str, tuple[T, int]] = {}
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._num_bytes = 0

    def put(self, name: str, item: T, num_bytes: int = 0) -> bool:
        """False: there is no room."""
        if len(self._items) >= self._max_items or self._num_bytes + num_bytes > self._max_bytes:
            return False
        self.drop(name)
        self._items[name] = (item, num_bytes)
        self._num_bytes += num_bytes
        return True

    def get(self, name: str) -> T | None:
        found = self._items.get(name)
        return found[0] if found is not None else None

    def drop(self, name: str) -> None:
        found = self._items.pop(name, None)
        if found is not None:
            self._num_bytes -= found[1]

    def values(self) -> Iterable[T]:
        return [item for item, _ in self._items.values()]
