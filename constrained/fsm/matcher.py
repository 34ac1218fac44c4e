"""One request's place in an automaton: a stack of states, so that taking back is popping."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..matcher import Steady

if TYPE_CHECKING:
    from .index import FsmGrammar


class FsmMatcher(Steady):
    """The matcher protocol on an automaton. It cannot fail: `error` is None for ever."""

    def __init__(self, grammar: FsmGrammar, states: list[int] | None = None, num_ends: int = 0) -> None:
        self.grammar = grammar
        self._states = states if states is not None else [1]  # the state after each accepted token
        self._num_ends = num_ends  # end-of-sequence tokens accepted

    @property
    def state(self) -> int:
        """The automaton's state: what a viewer draws."""
        return self._states[-1]

    def fill(self, mask_W: NDArray[np.uint32]) -> None:
        mask_W[:] = self.grammar.vocabulary.eos_mask_W if self._num_ends else self.grammar.mask_of(self.state)

    def accept(self, token_id: int) -> bool:
        if token_id in self.grammar.vocabulary.eos_token_ids:
            if not self.is_accepting:
                return False
            self._num_ends += 1
            return True
        after = 0 if self._num_ends else self._after(self.state, token_id)
        if not after:
            return False
        self._states.append(after)
        return True

    def rollback(self, num_tokens: int) -> None:
        ends = min(num_tokens, self._num_ends)
        self._num_ends -= ends
        assert 0 <= num_tokens - ends < len(self._states)
        del self._states[len(self._states) - (num_tokens - ends) :]

    def would_accept(self, token_ids: Sequence[int]) -> int:
        state, ended = self.state, self._num_ends > 0
        for i, token_id in enumerate(token_ids):
            if token_id in self.grammar.vocabulary.eos_token_ids:
                if not ended and not self.grammar.dfa.accepting[state]:
                    return i
                ended = True
                continue
            state = 0 if ended else self._after(state, token_id)
            if not state:
                return i
        return len(token_ids)

    def may_keep(self, token_id: int) -> bool:
        return not self._num_ends and self._after(self.state, token_id) == self.state

    def _after(self, state: int, token_id: int) -> int:
        """The state after a text token, 0 if it is not allowed."""
        vocabulary = self.grammar.vocabulary
        if not vocabulary.is_text(token_id):
            return 0
        after = self.grammar.dfa.step(state, vocabulary.token_bytes[token_id])
        return after if self.grammar.is_open(after) else 0

    def forced(self) -> list[int]:
        return [] if self._num_ends else list(self.grammar.forced_of(self.state))

    def copy(self) -> FsmMatcher:
        return FsmMatcher(self.grammar, self._states.copy(), self._num_ends)

    @property
    def is_accepting(self) -> bool:
        return self._num_ends > 0 or bool(self.grammar.dfa.accepting[self.state])

    @property
    def is_finished(self) -> bool:
        return self._num_ends > 0 or (self.is_accepting and not self.grammar.dfa.leads_on[self.state])

    @property
    def error(self) -> str | None:
        return None
