"""A grammar whose answers are checked while they grow, for what no mask says: a schema's marks, a validator's verdict.

A token that ends a value with which the judge gives the document up, or a document that the validator refuses, is taken
back, and what began with it is forbidden at that place. Where nothing is left there, the last place with a choice is
decided again. The scheduler does the taking back (`take_back`), and tells nobody of tokens that may still be
(`num_open`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from .json_schema.cursor import Ended, JsonCursor
from .json_schema.judge import Watch
from .json_schema.marks import CONTAINS, LEAST, UNIQUE, Places
from .matcher import CompiledGrammar, Matcher
from .tags.cursor import TagCursor
from .tags.follower import Follower
from .vocabulary import Vocabulary

MAX_TRIED_ENDS = 4  # of one scalar, before its name is decided again
MAX_RESUMES = 64  # of one document, or one item; each computes a token again

Verdict = Callable[[bytes], "int | None"]
"""Where a document's first bad value ends, in bytes; None: it is valid."""


class CheckedGrammar:
    """What `inner` allows, if the checks agree."""

    def __init__(
        self,
        inner: CompiledGrammar,
        vocabulary: Vocabulary,
        *,
        watch: Watch | None = None,
        tags: Follower | None = None,
        verdict: Verdict | None = None,
        ignored: tuple[str, ...] = (),
    ) -> None:
        """`watch`: of a document; `tags`: of those in a text; `verdict`: of the whole document."""
        self.inner = inner
        self.tags = tags
        self.vocabulary = vocabulary
        self.watch = watch
        self.verdict = verdict
        self.ignored = ignored

    @property
    def num_bytes(self) -> int:
        """Of the grammar inside."""
        return self.inner.num_bytes

    def cursor(self) -> JsonCursor | TagCursor:
        """At the start of an answer."""
        if self.tags is not None:
            return TagCursor(self.tags)
        return JsonCursor(self.watch.judge if self.watch is not None else None)

    def matcher(self, max_tokens: int | None = None) -> CheckedMatcher:
        return CheckedMatcher(self, self.inner.matcher(max_tokens))


class CheckedMatcher:
    """One request's place, and what it may not do again."""

    def __init__(self, grammar: CheckedGrammar, inner: Matcher) -> None:
        self._grammar = grammar
        self._inner = inner
        self._tokens: list[int] = []
        self._ends: list[int] = []  # bytes written after each token
        self._had_choice: list[bool | None] = []  # by place: the mask held more than one token; None: nobody filled it
        self._banned: dict[int, set[int]] = {}  # by place
        self._cursor = grammar.cursor()
        self._take_back = 0
        self._num_ends = 0  # end-of-sequence tokens accepted
        self._num_resumes = 0
        self._avoided: dict[int, int] = {}  # by where a scalar began: how often its end was forbidden
        self._error: str | None = None
        self._judged: tuple[int, int | None] = (-1, None)

    # ---- the protocol

    def fill(self, mask_W: NDArray[np.uint32]) -> None:
        self._inner.fill(mask_W)
        if self._error is not None or self._inner.error is not None:
            mask_W.fill(0)
            return
        place = len(self._tokens)
        for token_id in self._banned.get(place, ()):
            mask_W[token_id // 32] &= ~np.uint32(1 << (token_id % 32))
        if self._may_be_faulty and self._inner.is_accepting and self._fault() is not None:
            mask_W &= ~self._grammar.vocabulary.eos_mask_W
        largest = mask_W.item(mask_W.argmax())
        self._note_choice(place, largest & (largest - 1) != 0 or int(np.count_nonzero(mask_W)) > 1)
        if not largest:
            self._decide_again(place - 1, "no way on is left that keeps the document valid")

    def accept(self, token_id: int) -> bool:
        vocabulary = self._grammar.vocabulary
        if token_id in vocabulary.eos_token_ids:
            if not self.is_accepting or not self._inner.accept(token_id):
                return False
            self._num_ends += 1
            return True
        place = len(self._tokens)
        if self._error is not None or token_id in self._banned.get(place, ()) or not self._inner.accept(token_id):
            return False
        ended = self._cursor.feed(self._note(token_id))
        if self._inner.is_finished:
            ended += self._cursor.finish()
        if self._cursor.fault is not None:
            self._avoid(place, token_id, self._cursor.fault)
        elif self._grammar.verdict is None and any(value.array >= 0 for value in ended):
            self._num_resumes = 0  # it goes on
        elif self._inner.is_finished:
            fault = self._fault()
            if fault is not None:
                self._decide_again(
                    bisect_right(self._ends, fault - 1), "the validator refuses the document, and no other is in reach"
                )
        return True

    def rollback(self, num_tokens: int) -> None:
        ends = min(num_tokens, self._num_ends)
        self._num_ends -= ends
        if num_tokens:
            self._inner.rollback(num_tokens)
        kept = self._tokens[: len(self._tokens) - (num_tokens - ends)]
        self._take_back = 0
        self._banned = {place: ids for place, ids in self._banned.items() if place <= len(kept)}
        self._avoided = {
            start: n for start, n in self._avoided.items() if start < (self._ends[len(kept) - 1] if kept else 0)
        }
        del self._had_choice[len(kept) :]
        self._replay(kept)

    def may_keep(self, token_id: int) -> bool:
        return False

    def would_accept(self, token_ids: Sequence[int]) -> int:
        if self._error is not None or not token_ids or token_ids[0] in self._banned.get(len(self._tokens), ()):
            return 0
        allowed = self._inner.would_accept(token_ids)
        eos = self._grammar.vocabulary.eos_token_ids
        if allowed <= 1 and token_ids[0] not in eos:
            return allowed
        ahead = self.copy()
        for count, token_id in enumerate(token_ids[:allowed]):
            if not ahead.accept(token_id) or (ahead.take_back and count):
                return count
            if ahead.take_back:
                return 1
        return allowed

    def forced(self) -> list[int]:
        if self._error is not None or self._take_back:
            return []
        token_ids = self._inner.forced()
        return [] if token_ids and token_ids[0] in self._banned.get(len(self._tokens), ()) else token_ids

    def copy(self) -> CheckedMatcher:
        other = CheckedMatcher(self._grammar, self._inner.copy())
        other._had_choice = self._had_choice.copy()
        other._banned = {place: ids.copy() for place, ids in self._banned.items()}
        other._take_back, other._num_ends = self._take_back, self._num_ends
        other._num_resumes, other._error = self._num_resumes, self._error
        other._avoided = self._avoided.copy()
        other._replay(self._tokens)
        return other

    @property
    def take_back(self) -> int:
        return self._take_back

    @property
    def num_open(self) -> int:
        if self._grammar.verdict is not None:
            return 0 if self.is_finished else len(self._tokens)
        return len(self._tokens) - self._floor()

    @property
    def is_accepting(self) -> bool:
        return self._error is None and not self._take_back and self._inner.is_accepting and self._fault() is None

    @property
    def is_finished(self) -> bool:
        return self._inner.is_finished and self.is_accepting

    @property
    def error(self) -> str | None:
        return self._error or self._inner.error

    @property
    def error_code(self) -> str:
        return "constraint_failed" if self._error is not None else self._inner.error_code

    # ---- what was written

    def _note(self, token_id: int) -> bytes:
        """Adds it to what was written; its bytes."""
        data = self._grammar.vocabulary.token_bytes[token_id]
        self._tokens.append(token_id)
        self._ends.append((self._ends[-1] if self._ends else 0) + len(data))
        while len(self._had_choice) < len(self._tokens):
            self._had_choice.append(None)
        return data

    def _replay(self, tokens: list[int]) -> None:
        self._tokens, self._ends, self._cursor = [], [], self._grammar.cursor()
        self._cursor.replay(b"".join(map(self._note, tokens)))
        if self._inner.is_finished:
            self._cursor.finish()

    @property
    def _places(self) -> Places | None:
        if isinstance(self._cursor, TagCursor):
            return self._cursor.places
        return self._grammar.watch.places if self._grammar.watch is not None else None

    def _floor(self) -> int:
        """The first place that may be decided again: after the token that opened the outermost watched container."""
        if self._grammar.verdict is not None:
            return 0
        places = self._places
        for path, start in self._cursor.containers() if places is not None else ():
            if places is not None and places.is_watched(path):
                return bisect_right(self._ends, start) + 1
        return len(self._tokens)

    @property
    def _may_be_faulty(self) -> bool:
        """Without asking a validator."""
        return self._grammar.verdict is not None or self._cursor.is_faulty_here

    def _fault(self) -> int | None:
        """Where the document is bad if it ends here; None: it is good, or nobody asks."""
        if self._grammar.verdict is None:
            return len(self._cursor.text) if self._cursor.is_faulty_here else None
        if self._judged[0] != len(self._tokens):
            self._judged = (len(self._tokens), self._grammar.verdict(bytes(self._cursor.text)))
        return self._judged[1]

    # ---- taking back

    def _note_choice(self, place: int, is_choice: bool) -> None:
        while len(self._had_choice) <= place:
            self._had_choice.append(None)
        self._had_choice[place] = is_choice

    def _was_choice(self, place: int) -> bool:
        """Also where a copy was asked for the mask: behind the tokens of a draft."""
        known = self._had_choice[place]
        if known is None:
            there = self.copy()
            there.rollback(len(self._tokens) - place)
            there.fill(np.zeros(self._grammar.vocabulary.words, np.uint32))
            known = self._had_choice[place] = bool(there._had_choice[place])
        return known

    def _avoid(self, place: int, token_id: int, value: Ended) -> None:
        """Takes back what ended a value that must not be.

        A name, a container in which something may still come and, at first, a scalar go on; what is refused as a whole
        does not come to be: its name goes on, or what stands before it is decided again.
        """
        places = self._places
        assert places is not None
        if self._cursor.text[value.end - 1] in b"]}":
            may_go_on = bool(places.marks(value.path) & {CONTAINS, LEAST} or UNIQUE in places.marks(value.path[:-1]))
        else:
            tried = self._avoided[value.start] = self._avoided.get(value.start, 0) + 1
            may_go_on = tried < MAX_TRIED_ENDS or value.end == value.name_end
        named = bisect_right(self._ends, value.name_end - 1)
        if not may_go_on and value.name_end >= 0 and named >= self._floor():
            self._forbid_end(named, self._tokens[named], value.name_end)
        else:
            self._forbid_end(place, token_id, value.end)

    def _forbid_end(self, place: int, token_id: int, end: int) -> None:
        """Takes tokens back from `place` on; nothing may end there in that way what ended at the byte `end`."""
        data = self._grammar.vocabulary.token_bytes[token_id]
        began = self._ends[place] - len(data)
        # A string or container ends with its own last byte, a number with the byte after it.
        inside = end - began
        head = data[:inside] if self._cursor.text[end - 1] in b'"]}' and inside > 0 else data[: inside + 1]
        self._resume(place, {token_id, *(t for _, t in self._grammar.vocabulary.pieces.beginning_with(head))})

    def _decide_again(self, last: int, why: str) -> None:
        """Takes back to the last place with a choice that is not after `last`."""
        for place in range(min(last, len(self._tokens) - 1), self._floor() - 1, -1):
            if self._was_choice(place):
                self._resume(place, {self._tokens[place]})
                return
        self._error = why

    def _resume(self, place: int, banned: set[int]) -> None:
        self._num_resumes += 1
        if self._num_resumes > MAX_RESUMES:
            self._error = f"no answer that the constraint accepts was found in {MAX_RESUMES} attempts"
            return
        self._banned.setdefault(place, set()).update(banned)
        self._take_back = len(self._tokens) - place
