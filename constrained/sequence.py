"""Several grammars one after another, with fixed text between them: what separate generations would give, in one.

Each part is masked by its own grammar alone, so that no token reaches from one part into the next, and the text between
is the ids that it would have as a prompt. Where the model ends a part, the end is replaced by what comes next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import UnsupportedGrammar
from .matcher import CompiledGrammar, Matcher, Steady
from .vocabulary import Vocabulary


class Part(NamedTuple):
    """One generation of a sequence."""

    before: tuple[int, ...]
    """Ids of the text that precedes it."""
    grammar: CompiledGrammar
    max_tokens: int
    stops: tuple[bytes, ...]
    """Texts that end it and are left out."""


class PartEnd(NamedTuple):
    """Where a finished part lies among the accepted ids."""

    begin: int
    end: int
    reason: str
    """stop or length."""


class SequenceGrammar:
    """Compiled parts; shared by all requests that ask for them."""

    ignored: tuple[str, ...] = ()

    def __init__(self, parts: Sequence[Part], vocabulary: Vocabulary) -> None:
        """Raises UnsupportedGrammar for a part that takes tokens back: what follows it could not wait for that."""
        from .checked import CheckedGrammar  # its judges import llguidance, which a start without grammars leaves out

        if any(isinstance(part.grammar, CheckedGrammar) for part in parts):
            raise UnsupportedGrammar("what is checked when it is complete cannot be part of a sequence")
        self.parts = tuple(parts)
        self.vocabulary = vocabulary

    @property
    def num_bytes(self) -> int:
        return sum(part.grammar.num_bytes for part in self.parts)

    def matcher(self, max_tokens: int | None = None) -> SequenceMatcher:
        """`max_tokens` bounds the whole; each part has its own."""
        return SequenceMatcher(self)


def ids_between(text: str, vocabulary: Vocabulary) -> tuple[int, ...]:
    """`text` as a prompt has it behind other tokens. Raises UnsupportedGrammar without a tokenizer."""
    if vocabulary.encode is None:
        raise UnsupportedGrammar("a sequence needs the model's tokenizer")
    return tuple(vocabulary.encode(text)) if text else ()


class SequenceMatcher(Steady):
    """The matcher protocol over parts. `ends`: those that are finished."""

    def __init__(self, grammar: SequenceGrammar) -> None:
        self.grammar = grammar
        self.ends: list[PartEnd] = []
        self._ids: list[int] = []
        self._left: list[int] = []
        """Ids of the text before the open part that are still to come, the next one last."""
        self._begin = 0
        self._bytes = b""
        """Of the open part; kept where it has stops."""
        self._matcher: Matcher | None = None
        """Of the open part; None: all are finished."""
        self._open()

    def _open(self) -> None:
        place = len(self.ends)
        if place == len(self.grammar.parts):
            self._matcher = None
            return
        part = self.grammar.parts[place]
        self._matcher = part.grammar.matcher(part.max_tokens)
        self._left = list(reversed(part.before))
        self._begin = len(self._ids) + len(part.before)
        self._bytes = b""

    def _close(self, reason: str) -> None:
        self.ends.append(PartEnd(self._begin, len(self._ids), reason))
        self._open()

    def fill(self, mask_W: NDArray[np.uint32]) -> None:
        if self._left:
            mask_W[:] = 0
            token_id = self._left[-1]
            mask_W[token_id // 32] = np.uint32(1 << token_id % 32)
        elif self._matcher is not None:
            self._matcher.fill(mask_W)
        else:
            mask_W[:] = self.grammar.vocabulary.eos_mask_W

    def accept(self, token_id: int) -> bool:
        if self._left:
            if token_id != self._left[-1]:
                return False
            self._left.pop()
            self._ids.append(token_id)
            return True
        if self._matcher is None or not self._matcher.accept(token_id):
            return False
        self._ids.append(token_id)
        part = self.grammar.parts[len(self.ends)]
        if part.stops:
            self._bytes += self.grammar.vocabulary.token_bytes[token_id]
        if self._matcher.is_finished:
            self._close("stop")
        elif len(self._ids) - self._begin >= part.max_tokens:
            self._close("length")
        return True

    def end_part(self) -> int | None:
        """The model ends the open part here: the id that stands in place of its end. None: the request ends.

        A part without any token stays open: the texts around it would be one text, whose ids are others.
        """
        if self._left or self._matcher is None or not self._matcher.is_accepting or len(self._ids) == self._begin:
            return None
        self._close("stop")
        return self._left[-1] if self._left else None

    def is_cut_by(self, token_id: int) -> bool:
        """Whether the open part, with this token, holds one of its stops."""
        if self._left or self._matcher is None:
            return False
        stops = self.grammar.parts[len(self.ends)].stops
        if not stops:
            return False
        text = self._bytes + self.grammar.vocabulary.token_bytes[token_id]
        return any(stop in text for stop in stops)

    def stop_part(self, token_id: int) -> int | None:
        """A stop is found with this token: the id in its place where nothing of it is kept. None: the request ends.

        Where the stop begins inside an earlier token, or the token begins with text that is kept, what is left of the
        part has no ids of its own, and the part stays open.
        """
        own = self.grammar.vocabulary.token_bytes[token_id]
        stops = self.grammar.parts[len(self.ends)].stops
        text = self._bytes + own
        first = min(at for stop in stops if (at := text.find(stop)) >= 0)
        if first != len(self._bytes) or not self._bytes:
            return None
        self._close("stop")
        return self._left[-1] if self._left else None

    def rollback(self, num_tokens: int) -> None:
        kept = self._ids[: len(self._ids) - num_tokens]
        again = SequenceMatcher(self.grammar)
        ends = {end.end for end in self.ends}
        for place, token_id in enumerate(kept):
            if place in ends:
                again.end_part()  # does nothing where the part has ended by itself
            assert again.accept(token_id)
        self.__dict__.update(again.__dict__)

    def would_accept(self, token_ids: Sequence[int]) -> int:
        trial = self.copy()
        for count, token_id in enumerate(token_ids):
            if not trial.accept(token_id):
                return count
        return len(token_ids)

    def forced(self) -> list[int]:
        if self._left:
            return self._left[::-1]
        if self._matcher is None or len(self._ids) == self._begin:
            return []  # a generation draws its first token whatever its grammar forces
        part = self.grammar.parts[len(self.ends)]
        return self._matcher.forced()[: part.max_tokens - (len(self._ids) - self._begin)]

    def copy(self) -> SequenceMatcher:
        other = SequenceMatcher.__new__(SequenceMatcher)
        other.__dict__.update(self.__dict__)
        other.ends, other._ids, other._left = self.ends.copy(), self._ids.copy(), self._left.copy()
        other._matcher = None if self._matcher is None else self._matcher.copy()
        return other

    @property
    def is_accepting(self) -> bool:
        is_last = len(self.ends) == len(self.grammar.parts) - 1
        return self._matcher is None or (is_last and not self._left and self._matcher.is_accepting)

    @property
    def is_finished(self) -> bool:
        return self._matcher is None

    @property
    def error(self) -> str | None:
        return None if self._matcher is None else self._matcher.error
