"""An answer that is complete when its tokens run out: `close: true`.

While tokens are left in plenty nothing changes. As they run short, the shortest known completion is looked up, and from
the token on at which it only just fits it is the only thing allowed. On an automaton the distance to acceptance is
known, and no token is allowed that leads too far from it. Elsewhere a search over closing tokens finds a short
completion; every few tokens it is made sure that one still fits, and where none does, because something was opened that
takes too long to close, those tokens are taken back and the completion that fitted before them is written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .fsm.matcher import FsmMatcher
from .matcher import CompiledGrammar, Matcher
from .vocabulary import Vocabulary

EVERY = 8  # tokens at most between two looks, which may all be taken back
MAX_COMPLETION = 256  # tokens; what takes more is not closed
TRIED = 21  # tokens looked at for the next one of a completion
LATE, WORN = 40, 3  # a token that came 3 times among the last 40 makes room for others


class ClosingGrammar:
    """What `inner` allows, ended in time."""

    def __init__(self, inner: CompiledGrammar, vocabulary: Vocabulary) -> None:
        self.inner = inner
        self.vocabulary = vocabulary
        self.ignored = inner.ignored

    @property
    def num_bytes(self) -> int:
        """Of the grammar inside."""
        return self.inner.num_bytes

    def matcher(self, max_tokens: int | None = None) -> Matcher:
        """Without `max_tokens` there is nothing to end in time for."""
        inner = self.inner.matcher(max_tokens)
        return inner if max_tokens is None else ClosingMatcher(self.vocabulary, inner, max_tokens)


class ClosingMatcher:
    """The matcher protocol over `inner`; `max_tokens` count from where it stands."""

    def __init__(self, vocabulary: Vocabulary, inner: Matcher, max_tokens: int) -> None:
        self._vocabulary = vocabulary
        self._inner = inner
        self._left = max_tokens
        self._look_at = max_tokens  # when no more than these are left, the completion is measured again
        self._plan: list[int] | None = None
        """The completion, once it is the only thing allowed."""
        self._known: list[int] | None = None
        """The completion found last."""
        self._since = 0
        """Tokens accepted since `_known` was known to fit; they may be taken back to write it."""
        self._wrong = 0

    def fill(self, mask_W: NDArray[np.uint32]) -> None:
        self._steer()
        self._inner.fill(mask_W)
        if self._plan:
            only = self._plan[0]
            mask_W.fill(0)
            mask_W[only // 32] = np.uint32(1 << (only % 32))
        elif self._plan is not None:
            mask_W &= self._vocabulary.eos_mask_W
        elif isinstance(self._inner, FsmMatcher) and self._known is not None:
            for token_id in self._inner.grammar.too_far(self._inner.state, self._left - 2).tolist():
                mask_W[token_id // 32] &= ~np.uint32(1 << (token_id % 32))

    def _steer(self) -> None:
        """Fixes the completion when it only just fits."""
        if self._plan is not None or self._left > self._look_at or self._inner.error is not None:
            return
        found = self._fitting()
        if found is None:  # none is known to fit: perhaps later
            self._known = None
            self._look_at = self._left - max(1, self._left // 4)
            return
        self._known, self._since = found, 0
        spare = self._left - len(found) - 1  # one for the end of the sequence
        if spare <= 0:
            self._plan = list(found)
        elif isinstance(self._inner, FsmMatcher):
            self._look_at = self._left - max(1, spare // 4)
        else:  # any completion fits while more than MAX_COMPLETION are left
            self._look_at = max(self._left - max(1, min(EVERY, spare // 4)), min(self._left - 1, MAX_COMPLETION + 1))

    def _fitting(self) -> list[int] | None:
        """A completion from here that leaves room for the end of the sequence."""
        most = self._left - 1
        if self._known is not None and len(self._known) <= most and self._still_ends():
            return self._known
        return completion(self._inner, self._vocabulary, min(most, MAX_COMPLETION))

    def _still_ends(self) -> bool:
        """Whether the completion found last leads to an end from here too: what is open did not change."""
        if self._known is None or isinstance(self._inner, FsmMatcher):
            return False
        ends = [*self._known, min(self._vocabulary.eos_token_ids)]
        return self._inner.would_accept(ends) == len(ends)

    def accept(self, token_id: int) -> bool:
        if self._plan is not None and token_id not in self._vocabulary.eos_token_ids:
            if not self._plan or token_id != self._plan[0]:
                return False
            if not self._inner.accept(token_id):
                return False
            self._plan = self._plan[1:]
        elif not self._inner.accept(token_id):
            return False
        self._left -= 1
        if token_id in self._vocabulary.eos_token_ids:
            self._since = 0
        elif self._plan is None and not isinstance(self._inner, FsmMatcher):
            self._since += 1
            self._make_sure()
        return True

    def _make_sure(self) -> None:
        """Looks whether a completion still fits; else what was written since the last one goes."""
        if self._known is None or self._left > self._look_at or self._inner.take_back or self._inner.error is not None:
            return
        found = self._fitting()
        if found is None:
            self._wrong = self._since
        else:
            self._known, self._since = found, 0

    def rollback(self, num_tokens: int) -> None:
        self._inner.rollback(num_tokens)
        self._left += num_tokens
        if self._wrong and num_tokens == self._since:
            self._plan = list(self._known or ())
        elif num_tokens:
            self._plan, self._look_at = None, self._left
        if num_tokens > self._since:
            self._known = None
        self._since, self._wrong = max(0, self._since - num_tokens), 0

    def may_keep(self, token_id: int) -> bool:
        return False

    def would_accept(self, token_ids: Sequence[int]) -> int:
        if self._plan is not None:
            planned = 0
            while planned < min(len(token_ids), len(self._plan)) and token_ids[planned] == self._plan[planned]:
                planned += 1
            if planned < len(token_ids) and (
                planned < len(self._plan) or token_ids[planned] not in self._vocabulary.eos_token_ids
            ):
                token_ids = token_ids[:planned]
        return self._inner.would_accept(token_ids)

    def forced(self) -> list[int]:
        if self.take_back:
            return []
        self._steer()
        return self._inner.forced() if self._plan is None else list(self._plan)

    def copy(self) -> ClosingMatcher:
        other = ClosingMatcher(self._vocabulary, self._inner.copy(), self._left)
        other._look_at, other._known = self._look_at, self._known
        other._since, other._wrong = self._since, self._wrong
        other._plan = None if self._plan is None else list(self._plan)
        return other

    @property
    def take_back(self) -> int:
        return self._inner.take_back or self._wrong

    @property
    def num_open(self) -> int:
        at_risk = self._since if self._known is not None and self._left <= MAX_COMPLETION + 1 else 0
        return max(self._inner.num_open, at_risk)

    @property
    def is_accepting(self) -> bool:
        return not self._wrong and self._inner.is_accepting

    @property
    def is_finished(self) -> bool:
        return not self._wrong and (self._inner.is_finished or (self._plan == [] and self._inner.is_accepting))

    @property
    def error(self) -> str | None:
        return self._inner.error

    @property
    def error_code(self) -> str:
        return self._inner.error_code


def completion(matcher: Matcher, vocabulary: Vocabulary, max_tokens: int) -> list[int] | None:
    """A short way to an answer that the matcher accepts; None: none of at most `max_tokens` is known."""
    if isinstance(matcher, FsmMatcher):
        exact = matcher.grammar.completion_of(matcher.state)
        if len(exact) <= max_tokens and matcher.would_accept(exact) == len(exact):
            return exact
    ahead = matcher.copy()
    mask_W = np.zeros(vocabulary.words, np.uint32)
    token_ids: list[int] = []
    seen: set[bytes] = set()
    while not ahead.is_accepting:
        step = ahead.forced()[: max_tokens - len(token_ids)] or _next(ahead, vocabulary, mask_W, _worn(token_ids), seen)
        if not step or len(token_ids) + len(step) > max_tokens:
            return None
        for token_id in step:
            if not ahead.accept(token_id) or ahead.take_back:
                return None
            token_ids.append(token_id)
    return token_ids


def _worn(token_ids: list[int]) -> set[int]:
    """Tokens that were tried again and again of late and led nowhere."""
    return {token_id for token_id, count in Counter(token_ids[-LATE:]).items() if count >= WORN}


def _next(
    ahead: Matcher, vocabulary: Vocabulary, mask_W: NDArray[np.uint32], worn: set[int], seen: set[bytes]
) -> list[int]:
    """The token that most likely brings the end nearer: after which the answer is complete, or the choice smallest.

    Inside a string everything may follow, behind it little: so the choice says where the way out is. Choices that were
    `seen` on the way lead round in circles, unless there is nothing else.
    """
    ahead.fill(mask_W)
    seen.add(mask_W.tobytes())
    allowed_W = mask_W & vocabulary.text_mask_W
    if ahead.error is not None or not allowed_W.any():
        return []
    candidates = [t for t in closers(vocabulary) if (int(allowed_W[t // 32]) >> (t % 32)) & 1][:TRIED]
    if not candidates:
        bits = np.unpackbits(allowed_W.view(np.uint8), bitorder="little")
        some = np.flatnonzero(bits)[: 4 * TRIED].tolist()
        candidates = sorted(some, key=lambda t: len(vocabulary.token_bytes[t]))[:TRIED]
    first_bytes = {t: vocabulary.token_bytes[t][:1] for t in candidates}
    if b"]" in first_bytes.values() and b'"' not in first_bytes.values():  # behind an item, not inside a string
        candidates = [t for t in candidates if first_bytes[t] != b","]
    candidates = [t for t in candidates if t not in worn] or candidates
    best, fewest = candidates[0], (True, vocabulary.size + 1)
    for token_id in candidates:
        tried = ahead.copy()
        if not tried.accept(token_id) or tried.take_back:
            continue
        if tried.is_accepting:
            return [token_id]
        tried.fill(mask_W)
        count = int(_BITS[mask_W.view(np.uint8)].sum(dtype=np.int64))
        if count and (found := (mask_W.tobytes() in seen, count)) < fewest:
            best, fewest = token_id, found
    return [best]


_BITS = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)
_CLOSERS = (
    b'"', b"}", b"]", b")", b">", b"\n", b";", b" ", b"=", b"<", b",", b", ", b"0", b"1", b"@", b".", b"-", b":", b"/",
    b"null", b"a",
)  # fmt: skip
_closers: dict[str, list[int]] = {}


def closers(vocabulary: Vocabulary) -> list[int]:
    """One token each of what ends, or leads on through, what is open in JSON and the like."""
    known = _closers.get(vocabulary.digest)
    if known is None:
        found = (vocabulary.pieces.id_of(text) for text in _CLOSERS)
        known = _closers[vocabulary.digest] = [token_id for token_id in found if token_id is not None]
    return known
