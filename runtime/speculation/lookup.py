"""Drafts from text that repeats itself: the last tokens occurred before, so what followed then may follow now.

Searched are the request's own prompt and output, its siblings of the same fork, and the last outputs of its namespace.
There is no index: a search is a few passes of numpy over some thousand ids (microseconds, where a suffix automaton in
Python costs as many for each token that it learns), and a text that goes on repeating is followed without any search.
Source: prompt lookup decoding (Saxena 2023); suffix decoding (arXiv 2411.04975) for the outputs of others.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from ...radix_cache.node import Int32
from ..request import Request
from .drafter import Draft, Track

MIN_MATCH = 2
MAX_MATCH = 32
_SEARCHES = 4  # a step: more requests take turns
_MAX_REST = 8  # tokens between the searches of a text that does not repeat itself: a repeat worth a draft is longer
_GOOD = 4  # tokens that a text must be followed for, or it was no repeat
_MEMORY = 16384  # ids of others' outputs that a namespace remembers, at least
_MAX_NAMESPACES = 64
_GAP = -1  # between two outputs: no token


class Text:
    """Outputs that ended lately, one after the other."""

    def __init__(self) -> None:
        self._ids: Int32 = np.empty(2 * _MEMORY, np.int32)
        self._len = 0
        self.age = 0
        """Changes when ids move: places in the text of another age mean nothing."""

    @property
    def ids(self) -> Int32:
        return self._ids[: self._len]

    def add(self, ids: Int32) -> None:
        ids = ids[-(_MEMORY - 1) :]
        if self._len + ids.size + 1 > self._ids.size:
            kept = self._ids[self._len - _MEMORY : self._len].copy()
            self._ids[: kept.size] = kept
            self._len = kept.size
            self.age += 1
        self._ids[self._len] = _GAP
        self._ids[self._len + 1 : self._len + 1 + ids.size] = ids
        self._len += 1 + ids.size


class _Cursor:
    """A text that the request repeats: its last token stands at text[at - 1], `strength` tokens agree."""

    __slots__ = ("age", "at", "begun", "known", "source", "strength")

    def __init__(self, source: Text | Track, at: int, strength: int, known: int) -> None:
        self.source = source
        self.begun = known
        self.age = source.age if isinstance(source, Text) else 0
        self.at = at
        self.strength = strength
        self.known = known
        """Tokens of the request that were compared."""

    def text(self) -> Int32:
        source = self.source
        return source.ids if isinstance(source, Text) else source.ids[: source.known]


class _Search:
    """Of one request: what it repeats now, and when to search again."""

    __slots__ = ("at", "cursor", "rest")

    def __init__(self) -> None:
        self.cursor: _Cursor | None = None
        self.at = 0
        """Tokens to be known."""
        self.rest = 1


class LookupDrafter:
    """Free, but for some microseconds a token."""

    name = "ngram"
    is_free = True

    def __init__(self) -> None:
        self._texts: OrderedDict[str, Text] = OrderedDict()
        self._turn = 0

    def propose(self, tracks: list[Track], num_tokens: int) -> list[Draft | None]:
        drafts: list[Draft | None] = []
        lost: list[int] = []
        for place, track in enumerate(tracks):
            search = track.cursors.get(self.name)
            if search is None:
                search = track.cursors[self.name] = _Search()
            drafts.append(None)
            cursor = search.cursor
            if cursor is not None and self._follow(cursor, track):
                drafts[place] = self._draft(cursor, num_tokens)
                continue
            if cursor is not None and cursor.known - cursor.begun >= _GOOD:
                search.rest, search.at = 1, 0
            search.cursor = None
            if track.known >= search.at:
                lost.append(place)
        for i in range(min(_SEARCHES, len(lost))):
            place = lost[(self._turn + i) % len(lost)]
            track = tracks[place]
            search = track.cursors[self.name]
            cursor = search.cursor = self._search(track)
            drafts[place] = None if cursor is None else self._draft(cursor, num_tokens)
            search.at = track.known + search.rest
            search.rest = min(_MAX_REST, 2 * search.rest)
        self._turn += _SEARCHES
        return drafts

    def observe(self, request: Request, ids: Int32) -> None:
        output = ids[request.prompt_len :]
        if output.size <= MIN_MATCH:
            return
        name = request.submit.namespace
        text = self._texts.get(name)
        if text is None:
            text = self._texts[name] = Text()
            if len(self._texts) > _MAX_NAMESPACES:
                self._texts.popitem(last=False)
        self._texts.move_to_end(name)
        text.add(output)

    def step_seconds(self, num_tracks: int) -> float:
        return 0.0

    def forget(self, track: Track) -> None:
        """Nothing is held for it."""

    def flush(self) -> None:
        self._texts.clear()

    def _draft(self, cursor: _Cursor, num_tokens: int) -> Draft | None:
        ids = cursor.text()[cursor.at : cursor.at + num_tokens]
        if isinstance(cursor.source, Text):
            ids = ids[: int(np.append(np.flatnonzero(ids == _GAP), ids.size)[0])]
        return Draft(ids.copy(), self.name, cursor.strength) if ids.size else None

    def _follow(self, cursor: _Cursor, track: Track) -> bool:
        """Moves the cursor over the tokens that came since; False where they differ, or the text is gone."""
        if isinstance(cursor.source, Text) and cursor.source.age != cursor.age:
            return False
        text, at, came = cursor.text(), cursor.at, track.known - cursor.known
        if came < 0 or at + came >= text.size:
            return False
        if came == 1:
            if text[at] != track.ids[cursor.known]:
                return False
        elif came and not np.array_equal(text[at : at + came], track.ids[cursor.known : track.known]):
            return False
        cursor.at += came
        cursor.known += came
        cursor.strength = min(MAX_MATCH, cursor.strength + came)
        return True

    def _search(self, track: Track) -> _Cursor | None:
        """The place that agrees longest with the end of the text; the later one of equals, its own text first."""
        ids, known = track.ids, track.known
        if known <= MIN_MATCH:
            return None
        best_at, best = find_repeat(ids[: known - 1], ids, known)
        source: Text | Track = track
        others: list[Text | Track] = [sibling for sibling in track.group if sibling is not track]
        text = self._texts.get(track.request.submit.namespace)
        if text is not None:
            others.append(text)
        for other in others:
            if best >= MAX_MATCH:
                break
            hay = other.ids[: other.known] if isinstance(other, Track) else other.ids
            at, strength = find_repeat(hay, ids, known)
            if strength > best and at < hay.size:
                source, best_at, best = other, at, strength
        return _Cursor(source, best_at, best, known) if best else None


def find_repeat(text: Int32, ids: Int32, known: int) -> tuple[int, int]:
    """Where in `text` the longest end of ids[:known] ends (the last place), and its length: (0, 0) below MIN_MATCH.

    Lengths above MAX_MATCH count as MAX_MATCH.
    """
    if text.size < MIN_MATCH or known < MIN_MATCH:
        return 0, 0
    ends = np.flatnonzero(text[1:] == ids[known - 1]) + 2
    if ends.size:
        ends = ends[text[ends - 2] == ids[known - 2]]
    if not ends.size:
        return 0, 0
    length = MIN_MATCH
    while length < min(MAX_MATCH, known):
        inside = ends[ends > length]
        longer = inside[text[inside - length - 1] == ids[known - length - 1]]
        if not longer.size:
            break
        ends = longer
        length += 1
    return int(ends[-1]), length
