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
        self._read(document)

    def number(self, node: Any) -> int | None:
        """What the same objects of the document share, keys in the same order; None: there is nothing to share."""
        found = self._number_of.get(id(node))
        return None if found is None or self._counts[found] < 2 or self._sizes[found] < MIN_SIZE else found

    def _read(self, node: Any) -> tuple[int, int]:
        """Its number and size. Raises RecursionError."""
        if isinstance(node, dict):
            inner = [(key, self._read(value)) for key, value in node.items()]
            found = self._numbered(("{", *((key, number) for key, (number, _) in inner)))
            self._number_of[id(node)] = found
            self._counts[found] = self._counts.get(found, 0) + 1
            self._sizes[found] = size = 1 + sum(size for _, (_, size) in inner)
            return found, size
        if isinstance(node, list):
            items = [self._read(value) for value in node]
            return self._numbered(("[", *(number for number, _ in items))), 1 + sum(size for _, size in items)
        return self._numbered((type(node), node)), 0

    def _numbered(self, key: Any) -> int:
        return self._numbers.setdefault(key, len(self._numbers))
