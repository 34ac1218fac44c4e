"""An automaton tied to a vocabulary: for each state the tokens it allows, remembered once computed."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from ..forced import canonical_prefix
from ..vocabulary import Vocabulary
from .automaton import ByteDfa
from .matcher import FsmMatcher

MAX_MASKS = 4096  # rows remembered of one grammar: 24 MiB for a vocabulary of 49,152


class FsmGrammar:
    """A compiled grammar on an automaton of ours. Thread-safe; what is remembered serves all its requests."""

    ignored: tuple[str, ...] = ()

    def __init__(self, dfa: ByteDfa, vocabulary: Vocabulary) -> None:
        self.dfa = dfa
        self.vocabulary = vocabulary
        self._masks: dict[int, NDArray[np.uint32]] = {}
        self._forced: dict[int, list[int]] = {}
        self._completions: dict[int, list[int]] = {}
        self._lock = threading.Lock()
        self._reachable = self._token_reachable()

    @property
    def num_bytes(self) -> int:
        """The table and as many masks as may be remembered."""
        return self.dfa.num_bytes + min(self.dfa.num_states, MAX_MASKS) * self.vocabulary.words * 4

    def matcher(self, max_tokens: int | None = None) -> FsmMatcher:
        return FsmMatcher(self)

    def is_open(self, state: int) -> bool:
        """Whether tokens can lead from the state to acceptance."""
        return state > 0 and (self._reachable is None or bool(self._reachable[state]))

    def mask_of(self, state: int) -> NDArray[np.uint32]:
        """The row of a state; not to be written to."""
        mask_W = self._masks.get(state)
        if mask_W is None:
            bits = np.zeros(self.vocabulary.words * 32, np.uint8)
            nodes, states = self._walk(state)
            if self._reachable is not None:
                nodes = nodes[self._reachable[states]]
            bits[self.vocabulary.trie.tokens_at(nodes)] = 1
            mask_W = np.packbits(bits, bitorder="little").view(np.uint32)
            if self.dfa.accepting[state]:
                mask_W = mask_W | self.vocabulary.eos_mask_W
            with self._lock:
                if len(self._masks) >= MAX_MASKS:
                    self._masks.clear()
                self._masks[state] = mask_W
        return mask_W

    def forced_of(self, state: int) -> list[int]:
        """The tokens that must follow a state; not to be written to."""
        token_ids = self._forced.get(state)
        if token_ids is None:
            text, after = self.dfa.forced_bytes(state)
            following = [bytes([byte]) for byte, _ in self.dfa.next_bytes(after)] if text else []
            token_ids = canonical_prefix(self.vocabulary, text, following)
            while token_ids and not self.is_open(self.dfa.step(state, self.vocabulary.join(token_ids))):
                token_ids = token_ids[:-1]
            self._forced[state] = token_ids
        return token_ids

    def completion_of(self, state: int) -> list[int]:
        """Tokens of the shortest text from a state to acceptance; not to be written to."""
        token_ids = self._completions.get(state)
        if token_ids is None:
            token_ids = self.vocabulary.tokenize(self.dfa.shortest_completion(state))
            self._completions[state] = token_ids
        return token_ids

    def too_far(self, state: int, num_tokens: int) -> NDArray[np.int32]:
        """Tokens that lead from a state to where `num_tokens` more do not reach acceptance."""
        if int(self.dfa.distance.max()) <= num_tokens:  # a token has at least a byte
            return np.zeros(0, np.int32)
        nodes, states = self._walk(state)
        far = [s for s in np.unique(states).tolist() if self.dfa.distance[s] > num_tokens]
        far = [s for s in far if len(self.completion_of(s)) > num_tokens]
        return self.vocabulary.trie.tokens_at(nodes[np.isin(states, far)])

    def _walk(self, state: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """The trie's nodes whose bytes the automaton takes from `state`, and the states they lead to."""
        trie, dfa = self.vocabulary.trie, self.dfa
        nodes, states = np.zeros(1, np.int32), np.array([state], np.int32)
        all_nodes, all_states = [], []
        while len(nodes):
            children, source = trie.children_of(nodes)
            after = dfa.table[states[source], dfa.byte_class[trie.edge_byte_N[children]]]
            taken = after > 0
            nodes, states = children[taken], after[taken]
            all_nodes.append(nodes)
            all_states.append(states)
        return np.concatenate(all_nodes), np.concatenate(all_states)

    def _token_reachable(self) -> NDArray[np.bool_] | None:
        """States from which tokens lead to acceptance; None: all, since every byte in use is a token by itself."""
        in_use = [b for b in range(256) if (self.dfa.table[:, self.dfa.byte_class[b]] > 0).any()]
        if all(byte in self.vocabulary.single_bytes for byte in in_use):
            return None
        reachable = self.dfa.accepting.copy()
        trie = self.vocabulary.trie
        before: list[list[int]] = [[] for _ in range(self.dfa.num_states)]
        for state in range(1, self.dfa.num_states):
            nodes, states = self._walk(state)
            for target in np.unique(states[trie.num_tokens_N[nodes] > 0]):
                before[int(target)].append(state)
        stack = [int(s) for s in np.flatnonzero(reachable)]
        while stack:
            for source in before[stack.pop()]:
                if not reachable[source]:
                    reachable[source] = True
                    stack.append(source)
        return reachable
