"""Calls read out of an answer that a constraint shaped, as it comes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from ....constrained.json_schema.cursor import JsonCursor
from ....lang.reasoning import ReasoningTags, open_end
from .forms import NAME
from .grammar import CallGrammar
from .keywords import KeywordsEnd, keywords_to_json

BETWEEN = " \t\n;"
"""What may stand between calls and is no text."""


class Piece(NamedTuple):
    """What a reader made out: text, the name of a call that begins, or more of its arguments."""

    text: str = ""
    name: str = ""
    arguments: str = ""


class _JsonEnd:
    """Where a JSON object ends, found as it comes."""

    def __init__(self) -> None:
        self._cursor = JsonCursor()

    def find(self, text: str) -> int | None:
        """The index behind it, which goes on with `text`; None: not in it."""
        for at, char in enumerate(text):
            if any(value.path == () for value in self._cursor.feed(char.encode())):
                return at + 1
        return None


class CallReader:
    """Reads one answer. What may become the opening of a call waits until that is decided.

    What opens a call opens it for the constraint and for the reader alike, so that no call is told whose arguments the
    constraint did not see.
    """

    def __init__(
        self, grammar: CallGrammar, shown_thought: ReasoningTags | None = None, *, is_open: bool = False
    ) -> None:
        """`shown_thought`: the answer may begin with one, which is told as text; `is_open`: it is within one."""
        form = grammar.form
        head = re.escape(form.head).replace(NAME, "([A-Za-z0-9_.-]{1,128})")
        openings = "|".join(map(re.escape, form.openings))
        follows = re.escape(form.end)
        if form.separator is not None:
            follows = f"(?:{follows}|{re.escape(form.separator)}{head})"
        self._grammar = grammar
        self._head = re.compile(f"(?:{openings}){head}")
        self._follows = re.compile(re.escape(form.tail) + follows)
        name = max(map(len, grammar.schemas))
        self._longest = max(map(len, form.openings)) + len(form.head) + len(form.separator or "") + name
        self._longest += len(form.tail) + len(form.end)
        channels = form.channels
        self._final = channels.final if channels is not None else ""
        self._untold = channels.marks if channels is not None else ()
        self._held = ""
        self._looked_at = 0  # characters of what is held, by what finds the end of keywords
        self._end: _JsonEnd | KeywordsEnd | None = None
        """Of the arguments that are under way."""
        self._is_behind = False  # arguments
        self._comes_first = grammar.calls_come_first
        self._is_text = False  # to the end
        self._thought = shown_thought
        self._in_thought = is_open and shown_thought is not None

    @property
    def is_in_call(self) -> bool:
        """Whether arguments have begun and not ended."""
        return self._end is not None

    def push(self, text: str) -> Iterator[Piece]:
        """What became certain."""
        self._held += text
        while self._held:
            step = self._step()
            if step is None:
                return
            yield from step

    def finish(self) -> Iterator[Piece]:
        """What was held back and began no call."""
        rest, self._held = self._held, ""
        if rest and not (self._is_behind or self._end is not None or self._grammar.is_forced):
            yield Piece(text=rest)

    def _step(self) -> list[Piece] | None:
        if self._thought is not None:
            return self._through_thought(self._thought)
        if self._is_behind:
            return self._behind()
        if self._end is not None:
            return self._arguments()
        return self._first() if self._comes_first else self._free()

    def _through_thought(self, tags: ReasoningTags) -> list[Piece] | None:
        if not self._in_thought:
            if tags.start.startswith(self._held):
                return None
            self._in_thought = self._held.startswith(tags.start)
        at = self._held.find(tags.end) + len(tags.end)
        if self._in_thought and at < len(tags.end):
            return self._text(len(self._held) - open_end(self._held, tags.end))
        self._thought = None
        return self._text(at) if self._in_thought else []

    def _text(self, length: int) -> list[Piece] | None:
        text, self._held = self._held[:length], self._held[length:]
        return [Piece(text=text)] if text else None

    def _first(self) -> list[Piece] | None:
        """Before a call that comes first or not at all."""
        begun = self._held.lstrip()
        head = self._head.match(begun)
        if head is not None and head[1] in self._grammar.schemas:
            self._comes_first = False
            self._held = begun[head.end() :]
            return self._begin(head[1])
        if not begun or (len(begun) < self._longest and self._may_open(begun)):
            return None
        self._comes_first, self._is_text = False, True
        return []

    def _may_open(self, begun: str) -> bool:
        return any(
            one.startswith(begun) or begun.startswith(one)
            for opening in self._grammar.form.openings
            for name in self._grammar.schemas
            if (one := self._grammar.form.begin(name, opening))
        )

    def _free(self) -> list[Piece] | None:
        starts = () if self._is_text else (*self._grammar.form.triggers, *self._untold)
        found = [at for start in starts if (at := self._held.find(start)) >= 0]
        if not found:
            return self._text(len(self._held) - max((open_end(self._held, start) for start in starts), default=0))
        at = min(found)
        if at:
            return self._text(at)
        untold = next((one for one in self._untold if self._held.startswith(one)), None)
        if untold is not None:
            self._held = self._held[len(untold) :]
            self._is_text = untold == self._final
            return []
        head = self._head.match(self._held)
        if head is not None and head[1] in self._grammar.schemas:
            self._held = self._held[head.end() :]
            return self._begin(head[1])
        return None if head is None and len(self._held) < self._longest else self._text(1)

    def _begin(self, name: str) -> list[Piece]:
        self._end = _JsonEnd() if self._grammar.form.style == "json" else KeywordsEnd()
        return [Piece(name=name)]

    def _arguments(self) -> list[Piece] | None:
        """JSON is told as it comes, keywords when all are there."""
        assert self._end is not None
        end = self._end.find(self._held[self._looked_at :])
        if end is None and self._grammar.form.style == "python":
            self._looked_at = len(self._held)
            return None
        cut = len(self._held) if end is None else self._looked_at + end
        arguments, self._held = self._held[:cut], self._held[cut:]
        if end is not None:
            self._end, self._is_behind, self._looked_at = None, True, 0
        if self._grammar.form.style == "python":
            arguments = keywords_to_json(arguments) or "{}"
        return [Piece(arguments=arguments)] if arguments else []

    def _behind(self) -> list[Piece] | None:
        found = self._follows.match(self._held)
        if found is None and len(self._held) < self._longest:
            return None
        self._is_behind = False
        self._comes_first = not self._grammar.form.triggers
        if found is None:
            return []
        self._held = self._held[found.end() :]
        return self._begin(found[1]) if found.lastindex else []
