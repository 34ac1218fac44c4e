"""Where a JSON text that grows stands: which container is open, which value just ended, and what is written so far.

Reads what an engine has already checked: it never judges by itself, it only keeps the place. A judge, if there is one,
is asked whenever a value ends.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

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
    name_end: int = -1
    """Where its name ended, quotes included; -1: it has none."""


class Value:
    """A value of the document: a container that may still grow, a scalar, or one of which only the name is known."""

    __slots__ = ("counted", "distinct", "is_known", "is_whole", "items", "members", "passed", "scalar", "seen", "text")

    def __init__(
        self, scalar: Any = None, *, is_array: bool = False, is_object: bool = False, is_known: bool = True
    ) -> None:
        self.scalar = scalar
        self.is_known = is_known
        self.items: list[Value] | None = [] if is_array else None
        self.members: dict[str, Value] | None = {} if is_object else None
        self.is_whole = is_known and not (is_array or is_object)
        self.seen: dict[tuple[int, bool, bool], bool] = {}
        """What a judge knows of it, once it is whole."""
        self.passed: dict[tuple[int, bool, bool], int] = {}
        """How many of the first items or members, all whole, a judge found to fit."""
        self.counted: dict[tuple[int, bool], tuple[int, int]] = {}
        """Of how many of an array's first items a judge knows how many satisfy a schema."""
        self.distinct: set[str] = set()
        """The texts of an array's first items, as far as a judge knows them to differ."""
        self.text: str | None = None
        """A text that equal values share, once somebody asked for it."""

    def plain(self) -> Any:
        """As Python's json has it."""
        if self.members is not None:
            return {name: value.plain() for name, value in self.members.items()}
        return self.scalar if self.items is None else [value.plain() for value in self.items]


class Judge(Protocol):
    """Says whether a document may still become a valid one."""

    def may_become_valid(self, root: Value) -> bool:
        """`root`: the document so far."""
        ...


class _Open:
    """A container that is not closed."""

    __slots__ = ("at", "is_array", "is_key", "name_end", "start", "value")

    def __init__(self, start: int, *, is_array: bool) -> None:
        self.start = start
        self.is_array = is_array
        self.at: str | int = 0 if is_array else ""
        self.is_key = not is_array
        """The next string is a property's name."""
        self.name_end = -1
        self.value = Value(is_array=is_array, is_object=not is_array)

    def hold(self, value: Value) -> None:
        """A value begins, or ended, at its place."""
        if self.value.members is not None:
            before = self.value.members.get(str(self.at))
            if before is not None and before.is_whole:  # a name that comes twice
                self.value.passed.clear()
            self.value.members[str(self.at)] = value
        elif self.value.items is not None:
            self.value.items.append(value)


class JsonCursor:
    """Fed with a JSON document piece by piece."""

    def __init__(self, judge: Judge | None = None) -> None:
        self.text = bytearray()
        self.fault: Ended | None = None
        """The first value, or name of one, with whose end the judge gave the document up."""
        self._judge = judge
        self._root: Value | None = None
        self._open: list[_Open] = []
        self._scalar = -1  # where the scalar began that is being written
        self._in_string = False
        self._escaped = False

    @property
    def path(self) -> Path:
        """The value that is being written, or comes next."""
        return tuple(level.at for level in self._open)

    @property
    def is_begun(self) -> bool:
        """Whether the document has a first character."""
        return self._root is not None or self._scalar >= 0

    @property
    def is_faulty_here(self) -> bool:
        """Whether the judge refuses the number at the document's root, if the document ends now."""
        if self._judge is None or self._open or self._scalar < 0 or self._in_string:
            return False
        return not self._judge.may_become_valid(Value(_read(bytes(self.text[self._scalar :]))))

    def containers(self) -> Iterator[tuple[Path, int]]:
        """The open containers, outermost first: path, and where each began."""
        for depth, level in enumerate(self._open):
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

    def replay(self, data: bytes) -> list[Ended]:
        """As `feed`, of what the judge said yes to before."""
        judge, self._judge = self._judge, None
        ended = self.feed(data)
        self._judge = judge
        return ended

    def finish(self) -> list[Ended]:
        """The document is over: a number at its root ends here."""
        ended: list[Ended] = []
        if self._scalar >= 0 and not self._in_string:
            self._end_scalar(len(self.text), ended)
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
            self._end_scalar(position, ended)
        if byte in _WHITE:
            return
        if byte in b"{[":
            level = _Open(position, is_array=byte == 0x5B)
            self._place(level.value)
            self._open.append(level)
        elif byte in b"}]":
            level = self._open.pop()
            level.value.is_whole = True
            self._end(level.start, position + 1, ended)
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
            level.name_end = position + 1
            start, self._scalar = self._scalar, -1
            level.hold(Value(is_known=False))
            self._ask(Ended(self.path, start, position + 1, -1, position + 1))
        else:
            self._end_scalar(position + 1, ended)

    def _end_scalar(self, end: int, ended: list[Ended]) -> None:
        start, self._scalar = self._scalar, -1
        self._place(Value(_read(bytes(self.text[start:end]))))
        self._end(start, end, ended)

    def _place(self, value: Value) -> None:
        if self._open:
            self._open[-1].hold(value)
        else:
            self._root = value

    def _end(self, start: int, end: int, ended: list[Ended]) -> None:
        parent = self._open[-1] if self._open else None
        array = parent.start if parent is not None and parent.is_array else -1
        value = Ended(self.path, start, end, array, -1 if parent is None else parent.name_end)
        ended.append(value)
        self._ask(value)

    def _ask(self, value: Ended) -> None:
        """Of the judge, whether the document may go on from the end of a value or name."""
        if self._judge is None or self.fault is not None:
            return
        assert self._root is not None
        if not self._judge.may_become_valid(self._root):
            self.fault = value


def _read(scalar: bytes) -> Any:
    try:
        return json.loads(scalar)
    except ValueError:  # a number of thousands of digits, which Python does not read
        return -math.inf if scalar.startswith(b"-") else math.inf
