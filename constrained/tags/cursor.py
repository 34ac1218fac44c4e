"""Where a text with tags stands: outside, or in the JSON document of a tag, which a judge may watch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..json_schema.contradictions import types_left
from ..json_schema.cursor import Ended, JsonCursor, Path
from ..json_schema.judge import Watch
from ..json_schema.marks import REFUSES, Places
from .follower import Follower


class TagCursor:
    """As JsonCursor, for the objects and arrays in tags: places are bytes of the whole text."""

    def __init__(self, follower: Follower) -> None:
        self.text = bytearray()
        self.places: Places | None = None
        """Of the document that is open."""
        self._follower = follower
        self._spot = follower.start
        self._document: JsonCursor | None = None
        self._fault: Ended | None = None  # of a document that is closed
        self._base = 0  # where the open document begins
        self._is_replay = False

    @property
    def fault(self) -> Ended | None:
        """As JsonCursor's."""
        inner = self._document.fault if self._document is not None else None
        return self._fault if self._fault is not None or inner is None else self._moved(inner)

    @property
    def is_faulty_here(self) -> bool:
        """A tag's document ends with the tag."""
        return False

    def containers(self) -> Iterator[tuple[Path, int]]:
        """The open containers, outermost first: path, and where each began."""
        for path, start in self._document.containers() if self._document is not None else ():
            yield path, start + self._base

    def feed(self, data: bytes) -> list[Ended]:
        """Goes on with `data`; the values of documents that end in it."""
        read = len(self.text)
        self.text += data
        ended: list[Ended] = []
        for at, byte in enumerate(data, read):
            if self._document is None:
                self._spot = self._follower.move(self._spot, byte)
                if self._spot.after is not None:
                    self._begin(at)
            if self._document is not None:
                ended += self._read(at)
        return ended

    def replay(self, data: bytes) -> list[Ended]:
        """As JsonCursor's."""
        self._is_replay = True
        ended = self.feed(data)
        self._is_replay = False
        return ended

    def finish(self) -> list[Ended]:
        """The text is over: tags have their ends."""
        return []

    def _begin(self, at: int) -> None:
        """A document begins."""
        watch = self._spot.watch
        self._base = at
        self._document = JsonCursor(watch.judge if watch is not None else None)
        self.places = watch.places if watch is not None else None

    def _read(self, at: int) -> list[Ended]:
        """One byte of the open document, which its root's end closes."""
        assert self._document is not None
        byte = bytes(self.text[at : at + 1])
        ended = self._document.replay(byte) if self._is_replay else self._document.feed(byte)
        if any(value.path == () for value in ended):
            assert self._spot.after is not None
            self._fault, self._document, self._spot = self.fault, None, self._spot.after
        return [self._moved(value) for value in ended if value.array >= 0]

    def _moved(self, value: Ended) -> Ended:
        """A value of the document, with its places in the whole text."""
        base = self._base
        array, name_end = (place + base if place >= 0 else -1 for place in (value.array, value.name_end))
        return Ended(value.path, value.start + base, value.end + base, array, name_end)


def may_be_scalar(schema: Any, watch: Watch) -> bool:
    """Whether something may be refused of a document that is a scalar, whose end in a text nobody sees."""
    return REFUSES in watch.places.marks(()) and not types_left(schema, schema.get("$defs", {})) <= {"object", "array"}
