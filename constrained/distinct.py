"""JSON in which no object holds the same name twice.

RFC 8259 leaves open what a repeated name means, and readers differ: a document could satisfy its schema in one and say
something else in another. Grammars cannot count names that are not listed, so the place in the document is kept here,
and what would end a name that stands in the object already is not allowed. The engine spells each name in one way only.
The same goes for the documents in a text's tags.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import mask
from .json_schema.complement import types_of
from .json_schema.inside import inner_schemas
from .json_schema.names_left import NamesLeft
from .matcher import CompiledGrammar, Matcher, Steady
from .name_tokens import Beginning
from .tags.follower import Follower, Spot
from .vocabulary import Vocabulary

_COMBINED = frozenset(["$ref", "allOf", "anyOf", "const", "enum"])


class Frame(NamedTuple):
    """A container that is open."""

    parent: Frame | None
    names: frozenset[bytes] | None
    """Those that an object holds, as they are spelled; None: an array."""
    key: bytes | None = None
    """The name under which it stands; None: it has none."""


def _may_repeat_one(frame: Frame | None) -> bool:
    """Whether an open object holds a name."""
    while frame is not None and not frame.names:
        frame = frame.parent
    return frame is not None


class Place(NamedTuple):
    """Where a JSON text stands."""

    frame: Frame | None = None
    in_string: bool = False
    escaped: bool = False
    name: bytes | None = None
    """What is written of a name; None: no name is being written."""
    wants_name: bool = False
    """The next string is a name."""
    spot: Spot | None = None
    """In a text with tags."""
    key: bytes | None = None
    """The last name of the container that is open."""


class DistinctGrammar:
    """What `inner`, a grammar of JSON or of text with JSON in its tags, allows, without repeated names."""

    def __init__(
        self,
        inner: CompiledGrammar,
        vocabulary: Vocabulary,
        tags: Follower | None = None,
        left: NamesLeft | None = None,
    ) -> None:
        """`tags`: None where the whole is a document; `left`: of the document's names, where they may run out."""
        self.inner = inner
        self.vocabulary = vocabulary
        self.tags = tags
        self.left = left
        self.ignored = inner.ignored
        # Here in the pool, not when a mask is wanted.
        self.pieces, self.name_tokens = vocabulary.pieces, vocabulary.name_tokens
        self.rests_in_strings = left is None and not self.name_tokens.repeating_in_string
        """No token matters in strings that are no names."""

    def repeating(self, place: Place) -> mask.Few:
        """Tokens that may repeat a name, other than one that begins with the rest of the name that is being written, or
        is a whole one."""
        if place.in_string:
            return self.name_tokens.repeating_in_string
        if not _may_repeat_one(place.frame):
            return self.name_tokens.repeating_first
        return self.name_tokens.repeating_wanted if place.wants_name else self.name_tokens.repeating

    def beginning(self, place: Place) -> Beginning:
        """Tokens behind which a name may have begun, or comes next, other than one that goes on with a name."""
        names = self.name_tokens
        if place.wants_name or place.name is not None:
            return names.beginning_wanted
        if not place.in_string:
            return names.beginning
        return names.beginning_in_escape if place.escaped else names.beginning_in_string

    @property
    def num_bytes(self) -> int:
        """Of the grammar inside."""
        return self.inner.num_bytes

    def matcher(self, max_tokens: int | None = None) -> DistinctMatcher:
        return DistinctMatcher(self, self.inner.matcher(max_tokens))


class DistinctMatcher(Steady):
    """One request's place."""

    __slots__ = ("_error", "_grammar", "_inner", "_is_over", "_places", "_sifted_at", "_vocabulary")

    def __init__(self, grammar: DistinctGrammar, inner: Matcher, places: list[Place] | None = None) -> None:
        self._grammar = grammar
        self._vocabulary = grammar.vocabulary
        self._inner = inner
        start = grammar.tags.start if grammar.tags is not None else None
        self._places = places or [Place(spot=start)]  # before each token, and now
        self._error: str | None = None
        self._sifted_at: Place | None = None
        self._is_over: dict[int | bytes, bool] = {}
        """By token, or what is begun of a name behind it, whether none is left at that place."""

    def fill(self, mask_W: NDArray[np.uint32]) -> None:
        self._inner.fill(mask_W)
        grammar, place = self._grammar, self._places[-1]
        if place.in_string and place.name is None and grammar.rests_in_strings:
            return
        frame = place.frame
        banned: list[int] = []
        if place.name is not None:
            assert frame is not None
            for name in frame.names or ():
                if name.startswith(place.name):
                    banned += grammar.name_tokens.ending(name[len(place.name) :])
        if place.wants_name and frame is not None and frame.names:
            for name, few in grammar.name_tokens.whole:
                if name in frame.names:
                    banned += few.in_row(mask_W)
        for token_id in grammar.repeating(place).in_row(mask_W):
            if after(place, self._vocabulary.token_bytes[token_id], grammar.tags) is None:
                banned.append(token_id)
        if grammar.left is not None and _may_repeat_one(frame):
            banned += self._running_out(place, mask_W)
        for token_id in banned:
            mask_W[token_id // 32] &= ~np.uint32(1 << (token_id % 32))
        if banned and mask.is_empty(mask_W):
            self._error = "every name that may stand here is in the object already"

    def _running_out(self, place: Place, mask_W: NDArray[np.uint32]) -> list[int]:
        """Tokens that the row allows behind which a name has begun, or comes next, of which there are no more."""
        if place is not self._sifted_at:  # inside of a string it stays the same
            self._sifted_at, self._is_over = place, {}
        is_over, beginning = self._is_over, self._grammar.beginning(place)
        over: list[int] = []
        for begun, few in beginning.to_next:
            if begun not in is_over:
                is_over[begun] = not self._may_go_on(Place(place.frame, name=begun))
            if is_over[begun]:
                over += few.in_row(mask_W)
        found = beginning.others.in_row(mask_W)
        if place.name is not None and place.frame is not None:
            begun_len = len(place.name)
            pieces = self._grammar.pieces
            rests = {
                name[begun_len:end]
                for name in place.frame.names or ()
                if name.startswith(place.name)
                for end in range(begun_len + 1, len(name) + 1)
            }
            found += [t for rest in rests for t in pieces.ids_of(rest) if mask.allows(mask_W, t)]
        for token_id in found:
            if token_id not in is_over:
                is_over[token_id] = self._after(place, token_id) is None
            if is_over[token_id]:
                over.append(token_id)
        return over

    def accept(self, token_id: int) -> bool:
        following = self._after(self._places[-1], token_id)
        if following is None or self._error is not None or not self._inner.accept(token_id):
            return False
        self._places.append(following)
        return True

    def rollback(self, num_tokens: int) -> None:
        if num_tokens:
            self._inner.rollback(num_tokens)
            del self._places[-num_tokens:]
            self._error = None

    def would_accept(self, token_ids: Sequence[int]) -> int:
        if self._error is not None:
            return 0
        return self._num_distinct(token_ids[: self._inner.would_accept(token_ids)])

    def may_keep(self, token_id: int) -> bool:
        return self._inner.may_keep(token_id)

    def forced(self) -> list[int]:
        if self._error is not None:
            return []
        token_ids = self._inner.forced()
        return token_ids[: self._num_distinct(token_ids)] if token_ids else []

    def _num_distinct(self, token_ids: Sequence[int]) -> int:
        """How many of the ids, from the first, repeat no name."""
        place: Place | None = self._places[-1]
        for i, token_id in enumerate(token_ids):
            assert place is not None
            place = self._after(place, token_id)
            if place is None:
                return i
        return len(token_ids)

    def copy(self) -> DistinctMatcher:
        other = DistinctMatcher(self._grammar, self._inner.copy(), self._places.copy())
        other._error = self._error
        return other

    @property
    def is_accepting(self) -> bool:
        return self._error is None and self._inner.is_accepting

    @property
    def is_finished(self) -> bool:
        return self._error is None and self._inner.is_finished

    @property
    def error(self) -> str | None:
        return self._error or self._inner.error

    def _after(self, place: Place, token_id: int) -> Place | None:
        if not 0 <= token_id < len(self._vocabulary.token_bytes) or token_id in self._vocabulary.eos_token_ids:
            return place
        following = after(place, self._vocabulary.token_bytes[token_id], self._grammar.tags)
        return following if following is None or self._may_go_on(following) else None

    def _may_go_on(self, place: Place) -> bool:
        """Whether the name that is being written, or comes next, may become one that the object does not hold."""
        left, frame = self._grammar.left, place.frame
        if left is None or frame is None or not frame.names or not (place.wants_name or place.name is not None):
            return True
        return left.may_begin(_path(frame), place.name or b"", frame.names)


def _path(frame: Frame) -> tuple[bytes | None, ...]:
    """The names under which a container stands, from the root."""
    path: list[bytes | None] = []
    while frame.parent is not None:
        path.append(frame.key)
        frame = frame.parent
    return tuple(path[::-1])


def after(place: Place, data: bytes, tags: Follower | None = None) -> Place | None:
    """The place after some bytes of a JSON text, or of a text with `tags`; None: a name is repeated."""
    frame, in_string, escaped, name, wants_name, spot, key = place
    if in_string and not escaped and b'"' not in data and b"\\" not in data:
        return place if name is None else Place(frame, True, False, name + data, False, spot)
    for byte in data:
        if tags is not None and frame is None:  # nothing in a scalar has names
            assert spot is not None
            spot = tags.move(spot, byte)
            if spot.after is None:
                continue
        if in_string:
            if byte == 0x22 and not escaped:
                in_string = False
                if name is not None:
                    assert frame is not None
                    assert frame.names is not None
                    if name in frame.names:
                        return None
                    frame, key, name = Frame(frame.parent, frame.names | {name}, frame.key), name, None
                continue
            escaped = byte == 0x5C and not escaped
            if name is not None:
                name += bytes((byte,))
        elif byte == 0x22:
            in_string = True
            name, wants_name = (b"" if wants_name else None), False
        elif byte == 0x7B:
            frame, key, wants_name = Frame(frame, frozenset(), _key(frame, key)), None, True
        elif byte == 0x5B:
            frame, key, wants_name = Frame(frame, None, _key(frame, key)), None, False
        elif byte in b"]}":
            frame, wants_name = (frame.parent if frame is not None else None), False
            if frame is None and spot is not None:
                spot = spot.after
        elif byte == 0x2C:
            wants_name = frame is not None and frame.names is not None
    return Place(frame, in_string, escaped, name, wants_name, spot, key)


def _key(frame: Frame | None, last: bytes | None) -> bytes | None:
    """The name of a container that begins in another one, of which `last` is the last name if it is an object."""
    return last if frame is not None and frame.names is not None else None


def may_repeat(schema: Any) -> bool:
    """Whether an object of a normalised schema may hold names that it does not list."""
    if not isinstance(schema, dict):
        return schema is True
    if not schema.keys() & _COMBINED:
        kinds = types_of(schema)
        is_closed = schema.get("additionalProperties") is False and not schema.get("patternProperties")
        if "object" in kinds and not is_closed:
            return True
        num_listed = len(schema.get("prefixItems", ()))
        if "array" in kinds and "items" not in schema and schema.get("maxItems", num_listed + 1) > num_listed:
            return True
    return any(map(may_repeat, inner_schemas({k: v for k, v in schema.items() if not k.startswith("x-")})))
