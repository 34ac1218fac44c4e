"""Where a JSON text that grows stands: which container is open, and which value just ended.

Reads what an engine has already checked: it never judges, it only keeps the place.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple

Path = tuple[str | int, ...]
"""Property names and places in arrays, from the root."""

_WHITE = b" \t\r\n"
_ENDS_SCALAR = b",]} \t\r\n"


class Ended(NamedTuple):
    """A value, the whole of it."""

    path: Path
    start: int
    end: int
    """Its bytes are text[start:end]."""
    array: int
    """Where the array began of which it is an item; -1: it is none."""


class _Open:
    """A container that is not closed."""

    __slots__ = ("at", "is_array", "is_key", "start")

    def __init__(self, start: int, *, is_array: bool) -> None:
        self.start = start
        self.is_array = is_array
        self.at: str | int = 0 if is_array else ""
        self.is_key = not is_array
        """The next string is a property's name."""


class JsonCursor:
    """Fed with a JSON document piece by piece."""

    def __init__(self) -> None:
        self.text = bytearray()
        self._open: list[_Open] = []
        self._scalar = -1  # where the scalar began that is being written
        self._in_string = False
        self._escaped = False

    @property
    def path(self) -> Path:
        """The value that is being written, or comes next."""
        return tuple(level.at for level in self._open)

    def arrays(self) -> Iterator[tuple[Path, int]]:
        """The open arrays, outermost first: path, and where each began."""
        for depth, level in enumerate(self._open):
            if level.is_array:
                yield tuple(outer.at for outer in self._open[:depth]), level.start

    def feed(self, data: bytes) -> list[Ended]:
        """Goes on with `data`; the values that end in it, inner ones first."""
        ended: list[Ended] = []
        position = len(self.text)
        self.text += data
        for byte in data:
            self._step(byte, position, ended)
            position += 1
        return ended

    def finish(self) -> list[Ended]:
        """The document is over: a number at its root ends here."""
        ended: list[Ended] = []
        if self._scalar >= 0 and not self._in_string:
            self._end(self._scalar, len(self.text), ended)
        return ended

    def _step(self, byte: int, position: int, ended: list[Ended]) -> None:
        if self._in_string:
            if self._escaped:
                self._escaped = False
            elif byte == 0x5C:
                self._escaped = True
            elif byte == 0x22:
                self._in_string = False
                self._close_string(position, ended)
            return
        if self._scalar >= 0:
            if byte not in _ENDS_SCALAR:
                return
            self._end(self._scalar, position, ended)
        if byte in _WHITE:
            return
        if byte in b"{[":
            self._open.append(_Open(position, is_array=byte == 0x5B))
        elif byte in b"}]":
            start = self._open.pop().start
            self._end(start, position + 1, ended)
        elif byte == 0x2C:  # a comma
            level = self._open[-1]
            if isinstance(level.at, int):
                level.at += 1
            else:
                level.is_key = True
        elif byte != 0x3A:  # not a colon: a scalar begins
            self._scalar = position
            self._in_string = byte == 0x22

    def _close_string(self, position: int, ended: list[Ended]) -> None:
        level = self._open[-1] if self._open else None
        if level is not None and level.is_key:
            level.at = json.loads(bytes(self.text[self._scalar : position + 1]))
            level.is_key = False
            self._scalar = -1
        else:
            self._end(self._scalar, position + 1, ended)

    def _end(self, start: int, end: int, ended: list[Ended]) -> None:
        self._scalar = -1
        parent = self._open[-1] if self._open else None
        ended.append(Ended(self.path, start, end, parent.start if parent is not None and parent.is_array else -1))
