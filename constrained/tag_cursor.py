"""Where a text with tags stands: outside, or in the JSON document of a tag, whose arrays may demand distinct items."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .json_schema.cursor import Ended, JsonCursor, Path
from .json_schema.places import Places


class TagStart(NamedTuple):
    """A tag whose content is a JSON document."""

    begin: bytes
    places: Places | None
    """Where its arrays must hold distinct items; None: nowhere."""


class TagCursor:
    """As JsonCursor, for the documents inside tags: places are bytes of the whole text."""

    def __init__(self, starts: tuple[TagStart, ...]) -> None:
        self.text = bytearray()
        self.places: Places | None = None
        """Of the document that is open."""
        self._starts = starts
        self._longest = max((len(start.begin) for start in starts), default=1)
        self._document: JsonCursor | None = None
        self._base = 0  # where the open document begins
        self._searched = 0  # no tag begins before

    def arrays(self) -> Iterator[tuple[Path, int]]:
        """The open arrays, outermost first: path, and where each began."""
        for path, start in self._document.arrays() if self._document is not None else ():
            yield path, start + self._base

    def feed(self, data: bytes) -> list[Ended]:
        """Goes on with `data`; the values of documents that end in it."""
        read = len(self.text)
        self.text += data
        ended: list[Ended] = []
        while read < len(self.text):
            if self._document is None:
                read = self._search()
            else:
                ended += self._read(read)
                read += 1
        return ended

    def finish(self) -> list[Ended]:
        """The text is over: tags have their ends."""
        return []

    def _search(self) -> int:
        """Looks for the next tag; returns how far the text is read then."""
        found = [(at, start) for start in self._starts if (at := self.text.find(start.begin, self._searched)) >= 0]
        if not found:
            self._searched = max(self._searched, len(self.text) - self._longest + 1)
            return len(self.text)
        at, start = min(found, key=lambda one: one[0])
        self._base = at + len(start.begin)
        self._document, self.places = JsonCursor(), start.places
        return self._base

    def _read(self, at: int) -> list[Ended]:
        """One byte of the open document, which its root's end closes."""
        assert self._document is not None
        byte = bytes(self.text[at : at + 1])
        if not self._document.text.strip() and byte.strip() and byte not in (b"{", b"["):
            self._close(at)  # a document without arrays
            return []
        ended = self._document.feed(byte)
        if any(value.path == () for value in ended):
            self._close(at + 1)
        return [
            Ended(value.path, value.start + self._base, value.end + self._base, value.array + self._base)
            for value in ended
            if value.array >= 0
        ]

    def _close(self, at: int) -> None:
        self._document, self._searched = None, at
