"""What a step costs: t(rows, context), measured while the engine runs.

A row more is no constant: micro-kernels take rows by the half dozen, weights are read once for all of them, attention
grows with the context. So seconds are kept for each number of rows and each magnitude of context. Old ones fade and are
forgotten; what is not known is estimated from what is, along a guess of the curve, so that it is tried again.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

MAX_ROWS = 256
_FADE = 0.1  # weight of a new measurement
_FORGET = 4000  # steps after which a measurement is worth nothing
_OUTLIER = 2.0  # a step counts as at most this many times the estimate: others use the machine too
_FIRST_CONTEXT = 256  # tokens of the smallest magnitude
_NUM_MAGNITUDES = 12
_GUESS_ROWS = np.array((1, 2, 4, 8, 16, 32, 64, 128, 256), float)
_GUESS_SECONDS = np.array((1.0, 1.2, 1.75, 2.8, 5.4, 10.0, 17.0, 32.0, 62.0))  # of a step of one row; AVX-512, 2 cores
_ROWS = np.arange(MAX_ROWS + 1)


class _Table:
    """Steps of one magnitude of context."""

    def __init__(self) -> None:
        self.seconds = np.zeros(MAX_ROWS + 1)
        """0: not known."""
        self.when = np.zeros(MAX_ROWS + 1, np.int64)
        self.curve: Float64 | None = None


class StepCosts:
    """Steps in which every row is read; more than MAX_ROWS rows are not looked at."""

    def __init__(self) -> None:
        self._tables: dict[int, _Table] = {}
        self._guess: Float64 = np.interp(_ROWS, _GUESS_ROWS, _GUESS_SECONDS)
        self._num_steps = 0

    def add(self, num_rows: int, context: int, seconds: float) -> None:
        """A step of `num_rows` rows that see `context` tokens on average took so long."""
        if not 0 < num_rows <= MAX_ROWS or seconds <= 0:
            return
        self._num_steps += 1
        magnitude = _magnitude(context)
        estimate = float(self.curve(context)[num_rows]) if self._tables else seconds
        table = self._tables.get(magnitude)
        if table is None:
            table = self._tables[magnitude] = _Table()
        old = float(table.seconds[num_rows])
        fade = _FADE if old else 0.5
        table.seconds[num_rows] = estimate + fade * (min(seconds, _OUTLIER * estimate) - estimate)
        table.when[num_rows] = self._num_steps
        table.curve = None

    def curve(self, context: int) -> Float64:
        """[MAX_ROWS + 1]: seconds of a step by its rows, element 0 unused; only ratios mean anything before the first
        measurement. Valid until the next `add`."""
        if not self._tables:
            return self._guess
        magnitude = _magnitude(context)
        table = self._tables.get(magnitude)
        if table is None:  # of another context: the nearest that was measured
            table = self._tables[min(self._tables, key=lambda other: (abs(other - magnitude), other))]
        if table.curve is None:
            old = (table.seconds > 0) & (table.when < self._num_steps - _FORGET)
            if np.count_nonzero(old) < np.count_nonzero(table.seconds):
                table.seconds[old] = 0.0
            rows = np.flatnonzero(table.seconds)
            curve: Float64 = self._guess * np.interp(_ROWS, rows, table.seconds[rows] / self._guess[rows])
            table.curve = curve
        return table.curve


def _magnitude(context: int) -> int:
    return min(_NUM_MAGNITUDES - 1, (max(0, context) // _FIRST_CONTEXT).bit_length())
