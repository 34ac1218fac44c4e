"""An answer that must begin with given bytes, before its constraint or none: what token healing generates under.

The tokens at the end of a prompt were given up, and are decided again together with what follows: a token may spell the
rest of the bytes and go on into the constraint, whatever engine serves that. Tokens shorter than the canonical ones are
not allowed: they would be another spelling of the same text, which the model has hardly seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .matcher import CompiledGrammar, Matcher
from .vocabulary import Vocabulary


class PrefixGrammar:
    """The text that was given up, then a compiled grammar; None: anything.

    The first mask, which may have to look at most of the vocabulary, is the same for all requests: it is remembered.
    Compiling a grammar asks for it, off the scheduler's path.
    """

    def __init__(self, vocabulary: Vocabulary, prefix: bytes, behind: CompiledGrammar | None) -> None:
        self._vocabulary = vocabulary
        self._prefix = prefix
        self._behind = behind
        self.ignored = () if behind is None else behind.ignored
        self._first_W: NDArray[np.uint32] | None = None

    @property
    def num_bytes(self) -> int:
        return 1024 if self._behind is None else self._behind.num_bytes

    def matcher(self, max_tokens: int | None = None) -> PrefixMatcher:
        if max_tokens is not None:  # what the prefix takes is not the constraint's
            max_tokens = max(1, max_tokens - len(self._vocabulary.tokenize(self._prefix)))
        behind = None if self._behind is None else self._behind.matcher(max_tokens)
        return PrefixMatcher(self._vocabulary, self._prefix, behind, self)

    def first_mask(self, matcher: PrefixMatcher) -> NDArray[np.uint32]:
        """The row at the start, of any matcher there; not to be written to."""
        if self._first_W is None:
            self._first_W = matcher.row()
        return self._first_W


class _Taken(NamedTuple):
    """One accepted token."""

    left: bytes
    """What was left of the prefix before it."""
    num_inner: int
    """Tokens that `inner` took for it."""


class PrefixMatcher:
    """The matcher protocol: `prefix`, then what `inner` allows; None: anything."""

    def __init__(
        self, vocabulary: Vocabulary, prefix: bytes, inner: Matcher | None, grammar: PrefixGrammar | None = None
    ) -> None:
        """`grammar`: which remembers the first mask."""
        assert prefix
        self._grammar = grammar
        self._vocabulary = vocabulary
        self._left = prefix
        self._taken: list[_Taken] = []
        self.inner = inner

    @property
    def is_through(self) -> bool:
        """The prefix is written: `inner` alone decides from here on."""
        return not self._left

    def fill(self, mask_W: NDArray[np.uint32]) -> None:
        if not self._left:
            if self.inner is None:
                mask_W.fill(0xFFFFFFFF)
            else:
                self.inner.fill(mask_W)
        elif self._taken or self._grammar is None or self.error is not None:
            mask_W[:] = self.row()
        else:
            mask_W[:] = self._grammar.first_mask(self)

    def row(self) -> NDArray[np.uint32]:
        """The tokens allowed next, inside the prefix."""
        bits = np.zeros(self._vocabulary.words * 32, np.uint8)
        bits[list(self._allowed())] = 1
        return np.packbits(bits, bitorder="little").view(np.uint32)

    def _allowed(self) -> Iterator[int]:
        pieces, left = self._vocabulary.pieces, self._left
        for length in range(self._shortest(left), len(left)):
            for text, token_id in pieces.beginning_with(left[:length]):
                if len(text) > length:
                    break
                yield token_id
        if self.inner is None:
            yield from (token_id for _, token_id in pieces.beginning_with(left))
            return
        row_W = np.zeros(self._vocabulary.words, np.uint32)
        self.inner.fill(row_W)
        bits = np.unpackbits((row_W & self._vocabulary.text_mask_W).view(np.uint8), bitorder="little")
        following = {self._vocabulary.token_bytes[t] for t in np.flatnonzero(bits).tolist()}
        heads = sorted({text[:1] for text in following})
        if self.inner.error is None:
            for text, token_id in pieces.beginning_with(left):
                if len(text) > len(left):
                    break
                yield token_id
        for head in heads:
            for text, token_id in pieces.beginning_with(left + head):
                rest = text[len(left) :]
                if rest in following or (pieces.id_of(rest) is None and self._spelled(rest) is not None):
                    yield token_id

    def _shortest(self, left: bytes) -> int:
        """Bytes of the token with which the canonical spelling of `left` begins: shorter ones only split it."""
        return len(self._vocabulary.token_bytes[self._vocabulary.tokenize(left)[0]])

    def _spelled(self, rest: bytes) -> list[int] | None:
        """Tokens that spell `rest` for `inner`; None where it does not allow them."""
        assert self.inner is not None
        whole = self._vocabulary.pieces.id_of(rest)
        token_ids = [whole] if whole is not None else self._vocabulary.trie.tokenize(rest)
        if self._vocabulary.join(token_ids) != rest or self.inner.would_accept(token_ids) < len(token_ids):
            return None
        return token_ids

    def accept(self, token_id: int) -> bool:
        left = self._left
        if not left:
            if self.inner is not None and not self.inner.accept(token_id):
                return False
            self._taken.append(_Taken(left, int(self.inner is not None)))
            return True
        if not self._vocabulary.is_text(token_id):
            return False
        text = self._vocabulary.token_bytes[token_id]
        if left.startswith(text):
            if len(text) < self._shortest(left):
                return False
            self._left = left[len(text) :]
            self._taken.append(_Taken(left, 0))
            return True
        if not text.startswith(left):
            return False
        spelled: list[int] | None = []
        if self.inner is not None:
            spelled = self._spelled(text[len(left) :])
            if spelled is None:
                return False
            for inner_id in spelled:
                self.inner.accept(inner_id)
        self._left = b""
        self._taken.append(_Taken(left, len(spelled or ())))
        return True

    def rollback(self, num_tokens: int) -> None:
        for _ in range(num_tokens):
            taken = self._taken.pop()
            self._left = taken.left
            if taken.num_inner and self.inner is not None:
                self.inner.rollback(taken.num_inner)

    def may_keep(self, token_id: int) -> bool:
        return not self._left and self.inner is not None and self.inner.may_keep(token_id)

    def would_accept(self, token_ids: Sequence[int]) -> int:
        ahead = self.copy()
        for place, token_id in enumerate(token_ids):
            if ahead.is_through and ahead.inner is not None:
                return place + ahead.inner.would_accept(token_ids[place:])
            if not ahead.accept(token_id):
                return place
        return len(token_ids)

    def forced(self) -> list[int]:
        return [] if self._left or self.inner is None else self.inner.forced()

    def copy(self) -> PrefixMatcher:
        other = PrefixMatcher(self._vocabulary, b"\0", None if self.inner is None else self.inner.copy(), self._grammar)
        other._left, other._taken = self._left, self._taken.copy()
        return other

    @property
    def take_back(self) -> int:
        wanted = 0 if self.inner is None else self.inner.take_back
        count = 0
        while wanted > 0 and count < len(self._taken):
            count += 1
            wanted -= self._taken[-count].num_inner
        return count

    @property
    def num_open(self) -> int:
        return 0 if self.inner is None else min(self.inner.num_open, len(self._taken))

    @property
    def error_code(self) -> str:
        return "grammar_failed" if self.inner is None else self.inner.error_code

    @property
    def is_accepting(self) -> bool:
        return not self._left and (self.inner is None or self.inner.is_accepting)

    @property
    def is_finished(self) -> bool:
        return not self._left and self.inner is not None and self.inner.is_finished

    @property
    def error(self) -> str | None:
        return None if self.inner is None else self.inner.error
