"""Schemas that a document says more than once: each is normalised, and read by the engine, once.

Collections of real schemas hold documents whose references were written out by a tool: 8,746 schemas of which 297
differ.
"""

from __future__ import annotations

from typing import Any

MIN_SIZE = 8
"""Objects and lists in a schema that is worth a definition of its own."""


class Twins:
    """The large objects of a document that occur more than once."""

    def __init__(self, document: Any) -> None:
        self._numbers: dict[Any, int] = {}  # of each value, by what it holds
        self._sizes: dict[int, int] = {}
        self._counts: dict[int, int] = {}
        self._number_of: dict[int, int] = {}  # by identity: the document outlives this
        if isinstance(document, dict | list):
            self._read(document)

    def number(self, node: Any) -> int | None:
        """What the same objects of the document share, keys in the same order; None: there is nothing to share."""
        found = self._number_of.get(id(node))
        return None if found is None or self._counts[found] < 2 or self._sizes[found] < MIN_SIZE else found

    def _read(self, node: dict[str, Any] | list[Any]) -> tuple[int, int]:
        """Its number and size. Raises RecursionError."""
        numbers, size = self._numbers, 1
        is_object = isinstance(node, dict)
        spelled: list[Any] = ["{", *node] if is_object else ["["]
        for value in node.values() if isinstance(node, dict) else node:
            if isinstance(value, dict | list):
                number, inner_size = self._read(value)
                size += inner_size
            else:
                number = numbers.setdefault((type(value), value), len(numbers))
            spelled.append(number)
        found = numbers.setdefault(tuple(spelled), len(numbers))
        if is_object:
            self._number_of[id(node)] = found
            self._counts[found] = self._counts.get(found, 0) + 1
            self._sizes[found] = size
        return found, size
