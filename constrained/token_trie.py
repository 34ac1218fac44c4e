"""The vocabulary as one flat byte trie, laid out so that an automaton walks it level by level with array operations."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


class TokenTrie:
    """Every text token once, by its bytes. Immutable.

    Nodes are numbered level by level, the root is 0; the children of a node are neighbours, ordered by byte. Ids that
    share their bytes end at the same node.
    """

    def __init__(self, pieces: Iterable[tuple[bytes, int]]) -> None:
        """`pieces`: the bytes and the id of each token; no piece is empty."""
        entries = sorted(pieces)
        self.max_len = max((len(piece) for piece, _ in entries), default=0)
        self._ids: dict[bytes, int] = {}
        edge_bytes: list[list[int]] = [[] for _ in range(self.max_len + 1)]
        num_children: list[list[int]] = [[] for _ in range(self.max_len + 1)]
        token_ids: list[list[int]] = [[] for _ in range(self.max_len + 1)]
        num_tokens: list[list[int]] = [[] for _ in range(self.max_len + 1)]
        edge_bytes[0], num_children[0], num_tokens[0] = [0], [0], [0]
        previous = b""
        for piece, token_id in entries:
            self._ids.setdefault(piece, token_id)
            shared = 0
            while shared < len(previous) and shared < len(piece) and previous[shared] == piece[shared]:
                shared += 1
            for depth in range(shared + 1, len(piece) + 1):
                num_children[depth - 1][-1] += 1
                edge_bytes[depth].append(piece[depth - 1])
                num_children[depth].append(0)
                num_tokens[depth].append(0)
            token_ids[len(piece)].append(token_id)
            num_tokens[len(piece)][-1] += 1
            previous = piece
        self.edge_byte_N: NDArray[np.uint8] = np.array([b for level in edge_bytes for b in level], np.uint8)
        """The byte that leads to each node."""
        self.num_children_N: NDArray[np.int32] = np.array([n for level in num_children for n in level], np.int32)
        self.first_child_N: NDArray[np.int32] = (1 + np.cumsum(self.num_children_N) - self.num_children_N).astype(
            np.int32
        )
        self.num_tokens_N: NDArray[np.int32] = np.array([n for level in num_tokens for n in level], np.int32)
        self.first_token_N: NDArray[np.int32] = (np.cumsum(self.num_tokens_N) - self.num_tokens_N).astype(np.int32)
        self.token_ids: NDArray[np.int32] = np.array([t for level in token_ids for t in level], np.int32)
        """All ids, in the order of the nodes at which they end."""

    @property
    def num_nodes(self) -> int:
        """The root included."""
        return len(self.edge_byte_N)

    def children_of(self, nodes: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """All children of `nodes`, and for each the position of its parent in `nodes`."""
        return _ranges(self.first_child_N[nodes], self.num_children_N[nodes])

    def tokens_at(self, nodes: NDArray[np.int32]) -> NDArray[np.int32]:
        """The ids that end at `nodes`."""
        return self.token_ids[_ranges(self.first_token_N[nodes], self.num_tokens_N[nodes])[0]]

    def tokenize(self, text: bytes) -> list[int]:
        """Longest token first; ends early where no token begins with the next bytes."""
        token_ids: list[int] = []
        position = 0
        while position < len(text):
            for length in range(min(self.max_len, len(text) - position), 0, -1):
                token_id = self._ids.get(text[position : position + length])
                if token_id is not None:
                    token_ids.append(token_id)
                    position += length
                    break
            else:
                break
        return token_ids

    def tokens_along(self, text: bytes) -> list[int]:
        """One id for each token whose bytes begin `text`, shortest first."""
        found = (self._ids.get(text[:length]) for length in range(1, min(self.max_len, len(text)) + 1))
        return [token_id for token_id in found if token_id is not None]


def _ranges(first: NDArray[np.int32], counts: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """first[0], first[0]+1, … (counts[0] of them), then those of the next; and the position each came from."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    source = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    values = np.arange(total, dtype=np.int32) + (first - (ends - counts)).astype(np.int32)[source]
    return values, source
