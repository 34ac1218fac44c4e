"""The protocol between the scheduler and every grammar engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Matcher(Protocol):
    """One request's place in a compiled grammar. Not thread-safe; different matchers may live in different threads."""

    def fill(self, mask_W: NDArray[np.uint32]) -> None:
        """Writes the tokens allowed next, the whole row: bit t % 32 of word t // 32. End-of-sequence ids are set iff
        accepting. Fastest where it is the same array each time."""
        ...

    def accept(self, token_id: int) -> bool:
        """Advances by one token; False, and unchanged, if it is not allowed."""
        ...

    def rollback(self, num_tokens: int) -> None:
        """Takes back the last accepted tokens."""
        ...

    def would_accept(self, token_ids: Sequence[int]) -> int:
        """How many of the ids, from the first, are legal in a row. Changes nothing."""
        ...

    def may_keep(self, token_id: int) -> bool:
        """Whether the mask filled last likely holds behind the token, too: a guess, without accepting it."""
        ...

    def forced(self) -> list[int]:
        """Ids that must come next whatever is sampled, canonically tokenized; empty when there is a choice."""
        ...

    def copy(self) -> Matcher: ...

    @property
    def take_back(self) -> int:
        """Tokens at the end that turned out wrong: whoever drives rolls them back and draws again. 0 once it did."""
        ...

    @property
    def num_open(self) -> int:
        """Tokens at the end that may still be taken back: not to be told yet."""
        ...

    @property
    def is_accepting(self) -> bool:
        """The output so far is complete."""
        ...

    @property
    def is_finished(self) -> bool:
        """Complete, and nothing but an end of sequence may follow."""
        ...

    @property
    def error(self) -> str | None:
        """Why this matcher cannot go on, if it cannot: its request ends with this, the batch goes on."""
        ...

    @property
    def error_code(self) -> str:
        """What its `error` is called."""
        ...


class Steady:
    """What matchers say that never take anything back, and of whom nobody knows where their masks stay the same."""

    __slots__ = ()
    take_back = 0
    num_open = 0
    error_code = "grammar_failed"

    def may_keep(self, token_id: int) -> bool:
        return False


class CompiledGrammar(Protocol):
    """A constraint tied to a vocabulary; shared by all requests that ask for it. Thread-safe."""

    ignored: tuple[str, ...]
    """JSON pointers of what the constraint says and nothing enforces: annotations, unknown formats and keywords."""

    @property
    def num_bytes(self) -> int:
        """Memory it holds, for the cache's bound."""
        ...

    def matcher(self, max_tokens: int | None = None) -> Matcher:
        """A new matcher at the start. `max_tokens`: how long the answer may be, for constraints that end in time."""
        ...
