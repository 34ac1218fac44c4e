"""The state of running requests as persistent arrays: a row each, so that a step is a few numpy calls, not a loop.

A row's tokens: ids[: known] are known; K and V of [: computed] are in the pool; slots of [: allocated] are its own or
the tree's; [: shared] belong to the tree (the request's handle ends there). A row decodes when known - computed == 1.

While a step is in flight, `computed` counts what it computes, and the token that it draws for a row is not known yet:
`drawn_in` and `draw` say which sample of which step it is. [: settled] is what committed steps computed.
"""

from __future__ import annotations

import numpy as np

from ...radix_cache.node import Int32


class Rows:
    """`num_rows` rows of `max_context` tokens."""

    def __init__(self, num_rows: int, max_context: int, page_size: int) -> None:
        self.width = -(-max_context // page_size) * page_size
        self.page_table: Int32 = np.zeros((num_rows, self.width), np.int32)
        self.ids: Int32 = np.zeros((num_rows, self.width + 1), np.int32)
        self.known: Int32 = np.zeros(num_rows, np.int32)
        self.computed: Int32 = np.zeros(num_rows, np.int32)
        self.settled: Int32 = np.zeros(num_rows, np.int32)
        self.allocated: Int32 = np.zeros(num_rows, np.int32)
        self.shared: Int32 = np.zeros(num_rows, np.int32)
        self.prompt: Int32 = np.zeros(num_rows, np.int32)
        """Prompt length."""
        self.limit: Int32 = np.zeros(num_rows, np.int32)
        """`known` at which the request ends by length."""
        self.expected: Int32 = np.zeros(num_rows, np.int32)
        """`known` that admission reserved room for."""
        self.age = np.zeros(num_rows, np.int64)
        """Number of its admission: the lowest is the oldest."""
        self.checks_eos = np.zeros(num_rows, bool)
        self.careful = np.zeros(num_rows, bool)
        """Every token needs a look: streams, stop strings, grammars, penalties, log-probabilities."""
        self.in_prompt = np.zeros(num_rows, bool)
        """The prompt (or what a retracted request knew) is not computed yet."""
        self.paused = np.zeros(num_rows, bool)
        """Takes no steps: its reader lags."""
        self.drawn_in = np.full(num_rows, -1, np.int64)
        """The last step that draws the token after the known ones; -1: none."""
        self.draw: Int32 = np.zeros(num_rows, np.int32)
        """Which of its samples that is."""
        self.void_in = np.full(num_rows, -1, np.int64)
        """The last step that computes the row in vain: it went on from another token."""
        self._free = list(range(num_rows - 1, -1, -1))
        self._fenced: list[tuple[int, int]] = []

    @property
    def num_free(self) -> int:
        return len(self._free)

    def take(self) -> int:
        return self._free.pop()

    def give(self, row: int, *, fence: int | None = None) -> None:
        """Empties a row; with `fence`, it is taken again only when `release` says that this step is committed."""
        self.known[row] = self.computed[row] = self.settled[row] = self.allocated[row] = self.shared[row] = 0
        self.in_prompt[row] = self.paused[row] = False
        self.drawn_in[row] = -1
        if fence is None:
            self._free.append(row)
        else:
            self._fenced.append((fence, row))

    def release(self, step: int) -> None:
        """Frees what waited for `step` or an earlier one."""
        if self._fenced:
            self._free += [row for fence, row in self._fenced if fence <= step]
            self._fenced = [(fence, row) for fence, row in self._fenced if fence > step]
