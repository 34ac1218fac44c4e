"""How many decode steps run in one call: as many as nobody needs to look between, as few as take no time to notice.

Planning a step and committing it takes as long for one row as for sixteen: at small batches, where steps are short,
that is a good part of the time. So, where the loop waits for each step anyway, or steps are so short that it had better
wait than wake a thread for each of them, the executor goes on by itself: it ends where a request ends or something
arrives, and what it drew beyond a request's end (a stop string is seen at the commit) is dropped. Whatever decides a
draw depends on its place alone, so the tokens are those of single steps. What depends on the draws themselves is a
constraint's mask: where rows have one, it is filled between the steps, and the burst ends where a constraint needs more
than that. A request that runs alone, unconstrained, may guess tokens in each step.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from ...radix_cache.node import EMPTY, Int32
from ..model_runner.plan import Burst, StepPlan
from ..request import Request
from ..speculation.predictions import Predictions
from .batch import Batch
from .commit import Committer
from .memory import RUN, Memory
from .state import State

_MOST = 8
_BEATS_OVERLAP = 3  # steps in one call spare more than planning ahead does
_BEGUN_S = 15e-3  # no step begins later in a call: readers see no gap; who arrives or aborts waits for one step anyway


class Bursts:
    """Makes bursts of plans that nothing is in flight beside."""

    def __init__(self, state: State, committer: Committer) -> None:
        self._state = state
        self._committer = committer
        self._memory = Memory(state)
        self._num_calm = self._num_right = 0
        """Steps since a draft was right; right ones by then."""
        self._ends: tuple[frozenset[int], Int32] = frozenset(), EMPTY

    def beat_overlap(self, batch: Batch) -> bool:
        """Whether what follows the batch had better be several steps in one call than one that is planned ahead."""
        if batch.spans or not batch.decoding or len(self._state.queue):
            return False
        return self._most(batch) >= _BEATS_OVERLAP

    def extend(self, batch: Batch, plan: StepPlan) -> None:
        """Lets further steps follow the plan's, where they may, and tokens be guessed; their slots are allocated."""
        num_steps = self._num_steps(batch)
        self._num_calm += num_steps
        if batch.spans or not batch.decoding:
            return
        predictions = self._predictions(batch)
        num_rounds = num_steps if predictions is None else num_steps + predictions.max_guessed
        num_rounds = self._num_rounds(batch, num_rounds)
        if num_rounds < 2:
            return
        rows = self._state.rows
        rows.computed[batch.decode_rows] += num_rounds - 1
        batch.is_burst = True
        batch.bound = [place for place, sample in enumerate(plan.samples) if sample.mask_row >= 0]
        batch.burst_len = min(num_steps, num_rounds)
        look = partial(self._committer.looks.look, batch) if batch.bound else None
        guessing = None
        if predictions is not None:
            request = batch.decoding[0]
            guessing = predictions.guessing(request, rows.ids[request.row, : rows.known[request.row]], num_rounds)
        plan.burst = Burst(batch.burst_len, self._end_ids(batch), self._state.halt, look, guessing)

    def _predictions(self, batch: Batch) -> Predictions | None:
        """Where a row is nearly free: beside one alone. Masks are of tokens that were drawn, never of guessed ones."""
        speculator = self._state.speculator
        if speculator is None or len(batch.decoding) != 1 or batch.decoding[0].matcher is not None:
            return None
        return speculator.predictions

    def _num_steps(self, batch: Batch) -> int:
        """At most; 1: no other may follow."""
        state, speculator = self._state, self._state.speculator
        if speculator is not None and speculator.num_right != self._num_right:
            self._num_calm, self._num_right = 0, speculator.num_right
        if batch.spans or not batch.decoding or len(state.queue):
            return 1
        most = self._most(batch)
        if speculator is not None:  # who drafted right lately will again, but not within a burst
            most = min(most, self._num_calm)
        return max(1, most)

    def _num_rounds(self, batch: Batch, most: int) -> int:
        """Tokens that each row may draw, `most` at most: 1 where one needs a look before the next, or has no slots."""
        rows = self._state.rows
        for request in batch.decoding if most > 1 else ():  # a few: steps of many take too long
            row = request.row
            known = int(rows.known[row])
            most = min(most, int(rows.limit[row]) - known)
            if request.sample_fields is None:
                most = _num_alike(request, known, most)
        return self._num_placed(batch, most) if most > 1 else 1

    def _most(self, batch: Batch) -> int:
        """As many as a call has time for."""
        step_s = self._state.pace.base_s(len(batch.decoding))
        return min(_MOST, 1 + int(_BEGUN_S / step_s) if step_s else 1)

    def _num_placed(self, batch: Batch, most: int) -> int:
        """As many as there are slots for; more are taken only while memory is plentiful."""
        rows, memory = self._state.rows, self._memory
        places = {row: int(rows.allocated[row]) - int(rows.computed[row]) for row in batch.decode_rows.tolist()}
        short = [row for row, count in places.items() if count < most - 1]
        num_wanted = max(RUN, self._state.cache.page_size) * len(short)
        if short and memory.available_len >= 4 * num_wanted and memory.make_room(num_wanted):
            memory.allocate(np.array(short, np.int32), num_wanted // len(short))
            places |= {row: int(rows.allocated[row]) - int(rows.computed[row]) for row in short}
        return min(most, min(places.values()) + 1)

    def _end_ids(self, batch: Batch) -> Int32:
        every = frozenset().union(*{request.stop_ids for request in batch.decoding})
        if batch.bound:  # these end every constraint, ignored or not
            every |= self._state.eos_token_ids
        if every != self._ends[0]:
            self._ends = every, np.fromiter(sorted(every), np.int32, len(every))
        return self._ends[1]


def _num_alike(request: Request, known: int, most: int) -> int:
    """Draws from the next one on that follow the same rules but for counts, `most` at most."""
    if request.matcher is not None and request.asks_logprobs:
        return 1
    left = request.submit.sampling.min_new_tokens - (known - request.prompt_len)
    return min(most, left) if request.ban_bias is not None and left > 0 else most
