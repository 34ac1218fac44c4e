"""How many drafted tokens to try: as many as make the step yield most tokens a second."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

MARGIN = 1.05  # times as many tokens a second that drafts must promise: estimates are no truths


def choose_lengths(chances: Sequence[Float64], num_rows: int, seconds: Float64) -> list[int]:
    """Tokens to try of each draft, so that (num_rows + accepted tokens expected) / seconds is largest; all 0 where no
    choice reaches MARGIN times what the step yields without drafts.

    chances[i][j]: chance that the first j + 1 tokens of draft i are all right (falling). seconds[n]: of a step of n
    rows, `num_rows` of which are computed anyway.
    """
    lengths = [0] * len(chances)
    room = seconds.size - 1 - num_rows
    if not chances or room <= 0 or num_rows <= 0:
        return lengths
    flat = np.concatenate(chances)
    owner = np.repeat(np.arange(len(chances)), [c.size for c in chances])
    order = np.argsort(-flat, kind="stable")[:room]  # falling within a draft, so its tokens stay in order
    rates = (num_rows + np.cumsum(flat[order])) / seconds[num_rows + 1 : num_rows + 1 + order.size]
    best = int(np.argmax(rates))
    if rates[best] < MARGIN * num_rows / seconds[num_rows]:
        return lengths
    for i in owner[order[: best + 1]].tolist():
        lengths[i] += 1
    return lengths


def choose_depth(
    chance: float, num_drafts: int, num_rows: int, seconds: Float64, drafting_s: float, max_depth: int
) -> int:
    """Tokens that a model shall draft for each of `num_drafts` requests, every one of them right with `chance` and at
    the cost of a step of the model, `drafting_s`; 0 where it does not pay."""
    depth = min(max_depth, (seconds.size - 1 - num_rows) // num_drafts)
    if depth < 1 or num_rows <= 0:
        return 0
    steps = np.arange(1, depth + 1)
    tokens = num_rows + num_drafts * np.cumsum(chance**steps)
    rates = tokens / (seconds[num_rows + num_drafts * steps] + drafting_s * steps)
    best = int(np.argmax(rates))
    return best + 1 if rates[best] >= MARGIN * num_rows / seconds[num_rows] else 0


def may_pay(num_rows: int, seconds: Float64, max_drafted: int) -> bool:
    """Whether drafts that are all right would pay at all beside `num_rows` rows."""
    end = min(seconds.size, num_rows + max_drafted + 1)
    if num_rows <= 0 or end <= num_rows + 1:
        return False
    rates = np.arange(num_rows + 1, end) / seconds[num_rows + 1 : end]
    return bool(rates.max() >= MARGIN * num_rows / seconds[num_rows])
