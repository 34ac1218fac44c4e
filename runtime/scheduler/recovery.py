"""A step that raised: which of its requests are to blame, and how the others go on.

The step, of a burst the first, is run once more, whole, then in halves down to single sequences (a step's results do
not depend on its batching, and K and V written twice are the same): those that fail alone end with the error. The
others take their tokens; who holds K and V that this step was to compute for the cache goes back to the queue and
computes them again. A step that was planned behind it has not run, and is taken back.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable

import numpy as np

from ...radix_cache.node import EMPTY, Int32, Node
from ..messages import Finish
from ..model_runner.plan import Logprobs, SharedPrefix, StepOutput, StepPlan
from ..request import Request, Status
from .batch import Batch
from .commit import Committer
from .state import State

logger = logging.getLogger(__name__)

_MAX_RUNS = 48  # two culprits among 256 sequences take at most 34


class Recovery:
    """Called when nothing is in flight."""

    def __init__(self, state: State, committer: Committer, execute: Callable[[StepPlan], StepOutput]) -> None:
        self._state = state
        self._committer = committer
        self._execute = execute

    def take_back(self, batch: Batch) -> None:
        """A step that was planned and never ran."""
        rows = self._state.rows
        mine = batch.decode_rows[rows.computed[batch.decode_rows] == batch.decode_ends]
        rows.computed[mine] -= 1
        rows.drawn_in[mine] = -1
        prompts = dict.fromkeys([*batch.touching, *(span.request for span in batch.spans)])
        self._put_back(batch, [request for request in prompts if request.status is Status.RUNNING])
        self._forget(batch)

    def repair(self, batch: Batch, plan: StepPlan, finish: Finish) -> None:
        """A step that raised: `finish` is what the culprits are told."""
        state = self._state
        apart = _Apart(plan, self._execute)
        apart.run()
        state.counters.num_failed_steps += 1
        computing = [*batch.decoding, *(span.request for span in batch.spans)]
        drawing = [*batch.decoding, *batch.sampling]
        culprits = {computing[b] for b in apart.failed} | {drawing[i] for i in apart.failed_samples}
        if culprits:
            logger.error("step %d: %d of its %d requests fail", batch.step, len(culprits), len(batch.members()))
            for request in culprits:
                state.finish(request, finish, insert=False)
        if apart.failed:
            again = [r for r in batch.members() if r.status is Status.RUNNING and _waits_for(r.handle, batch.step)]
            self._put_back(batch, again)
            self._forget(batch)
        self._committer.commit(batch, apart.output)

    def _put_back(self, batch: Batch, requests: list[Request]) -> None:
        """They compute again what the step was to compute for them."""
        for request, position in batch.scoring:
            if position >= 0 and request in requests:
                request.scored_len = min(request.scored_len, position)
        for request in requests:
            self._state.put_back(request)

    def _forget(self, batch: Batch) -> None:
        self._state.cache.discard(batch.step)
        self._state.pool.release(batch.step)
        self._state.rows.release(batch.step)


class _Apart:
    """A step run in parts: what they return, and which of them do not run.

    Sequences may read what those before them compute, never those behind; who reads what a failed one should have
    computed is left out.
    """

    def __init__(self, plan: StepPlan, execute: Callable[[StepPlan], StepOutput]) -> None:
        num_samples, num_scores = len(plan.samples), len(plan.scores)
        self.output = StepOutput(
            np.zeros(num_samples, np.int32),
            [None] * num_samples,
            [Logprobs(float("nan"), [], [], [])] * num_scores,
            np.zeros((plan.hidden_rows.size, 0), np.float32),
        )
        self.failed: set[int] = set()
        """Sequences."""
        self.failed_samples: set[int] = set()
        """Samples that fail though their sequence runs."""
        self._plan, self._execute = plan, execute
        self._num_runs = 0
        self._lost: Int32 = EMPTY

    def run(self) -> None:
        todo = [(0, int(self._plan.kv_lens_B.size))]
        while todo:
            first, end = todo.pop()
            middle = (first + end) // 2
            if self._lost.size and any(self._reads_lost(b) for b in range(first, end)):
                if middle > first:
                    todo += [(middle, end), (first, middle)]
            elif self._try(first, end):
                pass
            elif middle > first and self._num_runs < _MAX_RUNS:
                todo += [(middle, end), (first, middle)]
            elif end - first > 1 or not self._try_samples(first):
                self.failed.update(range(first, end))
                begin, stop = _rows(self._plan, first, end)
                self._lost = np.concatenate((self._lost, self._plan.slots_T[begin:stop]))

    def _try(self, first: int, end: int, samples: list[int] | None = None) -> bool:
        """samples: only these draw."""
        if self._num_runs >= _MAX_RUNS:
            return False
        self._num_runs += 1
        begin, stop = _rows(self._plan, first, end)
        if samples is None:
            samples = [i for i, s in enumerate(self._plan.samples) if begin <= s.row < stop]
        try:
            part = self._execute(_part(self._plan, first, end, samples))
        except Exception:
            return False
        _put(self.output, self._plan, begin, stop, samples, part)
        return True

    def _try_samples(self, b: int) -> bool:
        """A sequence that fails and from which several draw: one by one. False: it is not because of one of them."""
        begin, stop = _rows(self._plan, b, b + 1)
        samples = [i for i, s in enumerate(self._plan.samples) if begin <= s.row < stop]
        failed = [i for i in samples if not self._try(b, b + 1, [i])] if len(samples) > 1 else samples
        if len(failed) == len(samples):
            return False
        self.failed_samples.update(failed)
        return True

    def _reads_lost(self, b: int) -> bool:
        """Sequence b attends over what a failed one should have computed."""
        plan = self._plan
        return bool(np.isin(plan.page_table[plan.table_rows_B[b], : plan.kv_lens_B[b]], self._lost).any())


def _waits_for(handle: Node | None, step: int) -> bool:
    """Its path holds what this step was to compute."""
    while handle is not None:
        if handle.ready_step == step:
            return True
        handle = handle.parent
    return False


def _rows(plan: StepPlan, first: int, end: int) -> tuple[int, int]:
    return int(plan.query_start_B1[first]), int(plan.query_start_B1[end])


def _part(plan: StepPlan, first: int, end: int, samples: list[int]) -> StepPlan:
    """The step of sequences [first, end) alone, and of these samples."""
    begin, stop = _rows(plan, first, end)
    groups = [(max(g.first, first) - first, min(g.end, end) - first, g.length) for g in plan.groups]
    return dataclasses.replace(
        plan,
        token_ids_T=plan.token_ids_T[begin:stop],
        positions_T=plan.positions_T[begin:stop],
        slots_T=plan.slots_T[begin:stop],
        query_start_B1=plan.query_start_B1[first : end + 1] - np.int32(begin),
        kv_lens_B=plan.kv_lens_B[first:end],
        table_rows_B=plan.table_rows_B[first:end],
        adapters_B=plan.adapters_B[first:end],
        tree_T=plan.tree_T[begin:stop],
        groups=[SharedPrefix(*group) for group in groups if group[1] - group[0] > 1],
        samples=[plan.samples[i]._replace(row=plan.samples[i].row - begin) for i in samples],
        scores=[s._replace(row=s.row - begin) for s in plan.scores if begin <= s.row < stop],
        hidden_rows=(plan.hidden_rows - np.int32(begin))[(plan.hidden_rows >= begin) & (plan.hidden_rows < stop)],
        burst=None,
    )


def _put(whole: StepOutput, plan: StepPlan, begin: int, stop: int, samples: list[int], part: StepOutput) -> None:
    """The part's results at their places."""
    whole.token_ids_S[samples] = part.token_ids_S
    for i, logprobs in zip(samples, part.logprobs_S, strict=True):
        whole.logprobs_S[i] = logprobs
    scores = [i for i, s in enumerate(plan.scores) if begin <= s.row < stop]
    for i, scored in zip(scores, part.scores_N, strict=True):
        whole.scores_N[i] = scored
    hidden = np.flatnonzero((plan.hidden_rows >= begin) & (plan.hidden_rows < stop))
    if hidden.size:
        if whole.hidden_RE.shape[1] != part.hidden_RE.shape[1]:
            whole.hidden_RE = np.zeros((plan.hidden_rows.size, part.hidden_RE.shape[1]), np.float32)
        whole.hidden_RE[hidden] = part.hidden_RE
