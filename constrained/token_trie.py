"""The vocabulary as one flat byte trie, laid out so that an automaton walks it level by level with array operations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

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
        lengths = np.fromiter((len(piece) for piece, _ in entries), np.int32, len(entries))
        ids = np.fromiter((token_id for _, token_id in entries), np.int32, len(entries))
        text = np.frombuffer(b"".join(piece for piece, _ in entries), np.uint8)
        starts = np.cumsum(lengths) - lengths
        del entries
        self.max_len = int(lengths.max(initial=0))
        edge_bytes = [np.zeros(1, np.uint8)]
        num_children, num_tokens, token_ids = list[NDArray[np.int32]](), [np.zeros(1, np.int32)], [ids[:0]]
        reaching = np.arange(len(ids))  # the pieces that are so long, and the place of each one's node in its level
        nodes = np.zeros(len(ids), np.int64)
        for depth in range(1, self.max_len + 1):
            is_longer = lengths[reaching] >= depth
            reaching, parents = reaching[is_longer], nodes[is_longer]
            edges = text[starts[reaching] + (depth - 1)]
            is_first = np.ones(len(edges), bool)
            is_first[1:] = (parents[1:] != parents[:-1]) | (edges[1:] != edges[:-1])
            nodes = np.cumsum(is_first) - 1
            ends = lengths[reaching] == depth
            num_children.append(np.bincount(parents[is_first], minlength=len(edge_bytes[-1])).astype(np.int32))
            edge_bytes.append(edges[is_first])
            num_tokens.append(np.bincount(nodes[ends], minlength=len(edge_bytes[-1])).astype(np.int32))
            token_ids.append(ids[reaching[ends]])
        num_children.append(np.zeros(len(edge_bytes[-1]), np.int32))
        self.edge_byte_N: NDArray[np.uint8] = np.concatenate(edge_bytes)
        """The byte that leads to each node."""
        self.num_children_N: NDArray[np.int32] = np.concatenate(num_children)
        self.first_child_N: NDArray[np.int32] = (1 + np.cumsum(self.num_children_N) - self.num_children_N).astype(
            np.int32
        )
        self.num_tokens_N: NDArray[np.int32] = np.concatenate(num_tokens)
        self.first_token_N: NDArray[np.int32] = (np.cumsum(self.num_tokens_N) - self.num_tokens_N).astype(np.int32)
        self.token_ids: NDArray[np.int32] = np.concatenate(token_ids)
        """All ids, in the order of the nodes at which they end."""
        self._edges = self.edge_byte_N.tobytes()

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
            length, longest = 0, -1
            for length, longest in self._along(text, position):  # noqa: B007  # the last is what counts
                pass
            if not length:
                break
            token_ids.append(longest)
            position += length
        return token_ids

    def tokens_along(self, text: bytes) -> list[int]:
        """One id for each token whose bytes begin `text`, shortest first."""
        return [token_id for _, token_id in self._along(text, 0)]

    def _along(self, text: bytes, position: int) -> Iterator[tuple[int, int]]:
        """Length and an id of each token that `text` goes on with at `position`, shortest first."""
        node = 0
        for place in range(position, len(text)):
            first = int(self.first_child_N[node])
            node = self._edges.find(text[place], first, first + int(self.num_children_N[node]))
            if node < 0:
                return
            if self.num_tokens_N[node]:
                yield place + 1 - position, int(self.token_ids[self.first_token_N[node]])


def _ranges(first: NDArray[np.int32], counts: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """first[0], first[0]+1, … (counts[0] of them), then those of the next; and the position each came from."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    source = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    values = np.arange(total, dtype=np.int32) + (first - (ends - counts)).astype(np.int32)[source]
    return values, source
