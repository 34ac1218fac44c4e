"""Between the steps of a burst: constraints see what was drawn, and say what may follow.

A matcher and the masks that it fills have left the processor's caches by the time a step is over, and take ten times as
long then. So where what may follow stays the same, as inside of a string, steps go on under the masks that they have,
and what they drew is looked at in one go. A mask that was kept is compared with the one that was due, bit by bit: where
they differ, what was drawn from there on does not count, and is drawn again.
"""

from __future__ import annotations

import numpy as np

from ...radix_cache.node import Int32
from ..request import Request
from .batch import Batch
from .taker import Taker

_LEAST = 4  # steps of a call in which some may wait: below, nothing is won
_MOST_CALM = 64


class Looks:
    """What waits is kept with the batch."""

    def __init__(self, taker: Taker) -> None:
        self._taker = taker

    def look(self, batch: Batch, drawn_S: Int32) -> bool:
        """Has the matchers accept what a step drew, and fill the masks of the next; or lets it wait.

        False: one of them needs more than that; the commit sees to it.
        """
        if batch.mask_errors or batch.redo:
            return False
        batch.waiting.append(drawn_S)
        if batch.burst_len >= _LEAST and self._may_wait(batch, drawn_S):
            return True
        return self._catch_up(batch, fills_next=True)

    def settle(self, batch: Batch, num_rounds: int) -> int:
        """How many of the rounds that a burst drew count, once the matchers accepted what waited."""
        if len(batch.looked) + len(batch.waiting) < num_rounds:  # else it failed, and was run again for one round
            self._catch_up(batch, fills_next=False)
        batch.waiting.clear()
        return num_rounds if batch.num_sound_rounds is None else min(num_rounds, batch.num_sound_rounds)

    @staticmethod
    def _may_wait(batch: Batch, drawn_S: Int32) -> bool:
        for place in batch.bound:
            request = batch.decoding[place]
            if request.num_calm < request.calm_needed or not _may_keep(request, int(drawn_S[place])):
                return False
        return True

    def _catch_up(self, batch: Batch, *, fills_next: bool) -> bool:
        """`fills_next`: the last round that waits is the last that ran. False: no step may follow."""
        num_waiting = len(batch.waiting)
        for count, drawn_S in enumerate(batch.waiting, 1):
            tokens, may_keep = drawn_S.tolist(), batch.burst_len >= _LEAST
            for place in batch.bound:
                request, token = batch.decoding[place], tokens[place]
                if not _may_keep(request, token):
                    request.num_calm, may_keep = 0, False
                if not self._taker.goes_on(request, token):
                    return self._end(batch, len(batch.looked) + 1)
            batch.looked.append(drawn_S)
            if not fills_next or count < num_waiting:
                if not self._fill_same(batch, was_kept=True):
                    return self._end(batch, len(batch.looked))
            elif may_keep:
                self._fill_same(batch, was_kept=False)
            else:
                assert batch.fill_masks is not None
                batch.fill_masks()
        batch.waiting.clear()
        return True

    @staticmethod
    def _end(batch: Batch, num_rounds: int) -> bool:
        batch.num_sound_rounds = num_rounds
        batch.waiting.clear()
        return False

    @staticmethod
    def _fill_same(batch: Batch, *, was_kept: bool) -> bool:
        """Fills the masks behind what was accepted. True: they are those of before, under which, if `was_kept`, more
        was drawn."""
        assert batch.fill_masks is not None
        assert batch.masks_MW is not None
        before_MW = batch.masks_MW.copy()
        batch.fill_masks()
        is_same = not (batch.mask_errors or batch.redo)
        for before_W, mask_W, place in zip(before_MW, batch.masks_MW, batch.bound, strict=True):
            request = batch.decoding[place]
            if np.array_equal(before_W, mask_W):
                request.num_calm += 1
                continue
            is_same = False
            request.num_calm = 0
            if was_kept:
                request.calm_needed = min(_MOST_CALM, 4 * request.calm_needed)
        if was_kept and not is_same:  # found out once more, when the next step's masks are filled
            batch.mask_errors.clear()
            batch.redo.clear()
        return is_same


def _may_keep(request: Request, token: int) -> bool:
    try:
        return request.matcher is not None and request.matcher.may_keep(token)
    except Exception:  # it fails again when the token is taken
        return False
