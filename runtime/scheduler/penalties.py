"""Which tokens a request has used how often, kept up to date token by token."""

from __future__ import annotations

import numpy as np

from ...radix_cache.node import Int32


class Penalties:
    """Distinct tokens of prompt and output, and how often each occurs in the output."""

    def __init__(self, prompt_ids: Int32) -> None:
        distinct = np.unique(prompt_ids)
        self._len = distinct.size
        self._ids = np.concatenate((distinct, np.zeros(64, np.int32))).astype(np.int32)
        self._counts = np.zeros(self._ids.size, np.int32)
        self._place = {token: place for place, token in enumerate(distinct.tolist())}

    def add(self, token_id: int) -> None:
        place = self._place.get(token_id)
        if place is None:
            place = self._place[token_id] = self._len
            if place == self._ids.size:
                self._ids = np.concatenate((self._ids, np.zeros_like(self._ids)))
                self._counts = np.concatenate((self._counts, np.zeros_like(self._counts)))
            self._ids[place] = token_id
            self._len += 1
        self._counts[place] += 1

    def remove(self, token_id: int) -> None:
        """Takes back an `add`."""
        self._counts[self._place[token_id]] -= 1

    def with_drafted(self, draft: Int32) -> tuple[Int32, Int32]:
        """ids and counts as they would be behind these tokens too."""
        tokens, times = np.unique(draft, return_counts=True)
        places = [self._place.get(token, -1) for token in tokens.tolist()]
        counts = self.counts.copy()
        new = []
        for token, place, count in zip(tokens.tolist(), places, times.tolist(), strict=True):
            if place < 0:
                new.append((token, count))
            else:
                counts[place] += count
        if not new:
            return self.ids, counts
        more = np.array(new, np.int32)
        return np.concatenate((self.ids, more[:, 0])), np.concatenate((counts, more[:, 1]))

    @property
    def ids(self) -> Int32:
        return self._ids[: self._len]

    @property
    def counts(self) -> Int32:
        return self._counts[: self._len]
