"""Drafts from the radix tree: who asks again what was asked before, gets what was answered before."""

from __future__ import annotations

from typing import NamedTuple

from ...radix_cache.continuation import Place, advance, following, ways
from ...radix_cache.node import Int32
from ..request import Request
from .drafter import Draft, Track

_MOST_BRANCHING = 24  # tokens of a draft that branches
_FIRST_REST = 16  # tokens that a request rests after it left the tree; twice as many each time


class _Cursor(NamedTuple):
    """Where the text stands in the tree (None: it left it), and at how many tokens to look again."""

    place: Place | None
    look_at: int
    rest: int


class TreeDrafter:
    """The path of a request, followed beyond its end. Free: the tree is there anyway."""

    name = "tree"
    is_free = True

    def __init__(self, page_size: int, *, branches: bool) -> None:
        """branches: where paths part below a request, several are drafted; else the one that was used last."""
        self._page_size = page_size
        self._branches = branches

    def propose(self, tracks: list[Track], num_tokens: int) -> list[Draft | None]:
        return [self._propose(track, num_tokens) for track in tracks]

    def observe(self, request: Request, ids: Int32) -> None:
        """The tree has it already."""

    def step_seconds(self, num_tracks: int) -> float:
        return 0.0

    def forget(self, track: Track) -> None:
        """Nothing is held for it."""

    def flush(self) -> None:
        """The tree is flushed by its owner."""

    def _propose(self, track: Track, num_tokens: int) -> Draft | None:
        ids, known, handle = track.ids, track.known, track.request.handle
        cursor: _Cursor = track.cursors.get(self.name) or _Cursor(None, 0, _FIRST_REST)
        place = cursor.place
        if place is not None:
            place = advance(place, ids, known, self._page_size)
        if place is None:
            if known < cursor.look_at or handle is None:
                return None
            place = advance(Place(handle, handle.end), ids, known, self._page_size)
        if place is None:  # others may come this way later
            track.cursors[self.name] = _Cursor(None, known + cursor.rest, 2 * cursor.rest)
            return None
        track.cursors[self.name] = cursor._replace(place=place)
        if not self._branches:
            follow, parents = following(place, num_tokens), None
        else:
            follow, parents = ways(place, num_tokens, _MOST_BRANCHING)
        return Draft(follow, self.name, parents=parents) if follow.size else None
