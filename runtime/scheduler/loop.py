"""Steps through their life: planned, started, committed; the next one planned while one runs.

With a thread for the steps, at most two are under way: one that runs, and one behind it that was planned with the draws
of the first unknown. The later that is planned, the more arrivals and ends it knows of, so it is planned when the
running step is expected to end soon. Where a step's draws decide the shape of the next one (drafts, tokens that a
grammar is likely to force, memory that must be won back), the next one waits for them. Where steps are so short that
bursts of them run (bursts.py), those run on the loop's own thread, with nothing under way beside.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from ..model_runner.plan import Executor, StepPlan
from ..request import Status
from .batch import Batch
from .bursts import Bursts
from .commit import Committer
from .intake import error_finish
from .planner import Planner
from .recovery import Recovery
from .state import State
from .step_thread import LaunchesAhead, RelayedSteps, StepResult, Steps

logger = logging.getLogger(__name__)

_EARLY = 0.25  # of a step's time: how far its end is off the expected one, mostly
_MEASURE_EVERY = 8  # steps without drafts: what those cost changes slowly


class _Flight(NamedTuple):
    batch: Batch
    plan: StepPlan
    fill: Callable[[], None] | None
    """Masks and penalties, to be filled in when the step before is committed;"""
    is_filled: threading.Event
    """and that they are."""
    expected_s: float


class StepLoop:
    """What is under way. All calls come from the scheduler's thread."""

    def __init__(self, state: State, planner: Planner, committer: Committer, executor: Executor) -> None:
        self._state = state
        self._planner = planner
        self._committer = committer
        self._alone = RelayedSteps(executor, state.clock)
        self._bursts = Bursts(state, committer)
        self._is_device = isinstance(executor, LaunchesAhead)
        self._recovery = Recovery(state, committer, executor.execute)
        self._flights: deque[_Flight] = deque()
        self._begun_s = 0.0
        """When the oldest flight began, about."""
        self._ended_s: float | None = None
        """When the last step ended, where the executor has waited for us since."""
        self._looked_at = -1
        self._drafts_pay = False
        self._own_s = 0.0
        """What planning takes, about."""
        self.own_thread_s = 0.0
        """What steps took on the loop's own thread where others have one of theirs."""

    @property
    def num_in_flight(self) -> int:
        return len(self._flights)

    def run_one(self) -> bool:
        """One step, or a burst, on this thread, nothing being in flight. False: there was nothing to compute."""
        assert not self._flights
        batch, plan = self._planner.build()
        if plan is None:
            self._ended_s = None
            return False
        self._bursts.extend(batch, plan)
        self._land(batch, plan, self._alone.run(plan, is_ahead=False))
        return True

    def advance(self, steps: Steps) -> float | None:
        """Starts the next step if it is time. 0: it started. Else when to look again, None: when something happens."""
        if len(self._flights) > 1:
            return None
        if self._flights:
            wait_s = self._early_s(self._flights[0])
            if wait_s is None or wait_s > 0.0:
                return wait_s
        begun_s = self._state.clock()
        batch, plan = self._planner.build()
        if plan is None:
            if not self._flights:
                self._ended_s = None
            return None
        is_ahead = bool(self._flights)
        if not is_ahead and not self._is_device and self._bursts.beat_overlap(batch):
            self._bursts.extend(batch, plan)
            result = self._alone.run(plan, is_ahead=False)
            self.own_thread_s += result.ended_s - result.begun_s
            self._land(batch, plan, result)
            return 0.0
        expected_s = self._state.pace.expect_s(len(batch.decoding), batch.num_tokens - len(batch.decoding))
        flight = _Flight(batch, plan, plan.fill_masks, threading.Event(), expected_s)
        if is_ahead and plan.fill_masks is not None:
            plan.fill_masks, plan.fill_waits = lambda: _wait(flight.is_filled), True
        steps.start(plan, is_ahead=is_ahead)
        self._flights.append(flight)
        self._state.in_flight = batch.step
        now_s = self._state.clock()
        self._own_s += 0.1 * (now_s - begun_s - self._own_s)
        if not is_ahead:
            self._begun_s = now_s
        return 0.0

    def settle(self, steps: Steps) -> None:
        """Waits for the oldest step under way and commits it."""
        flight = self._flights.popleft()
        try:
            result = steps.wait()
            self._begun_s = result.ended_s
            if result.error is not None and self._flights:
                behind = self._flights.popleft()
                steps.wait()  # it was not run
                self._state.in_flight = -1
                self._recovery.take_back(behind.batch)
            if not self._flights:
                self._state.in_flight = -1
            self._land(flight.batch, flight.plan, result)
        finally:
            self._fill_next()

    def close(self) -> None:
        """Lets a thread go on that waits for masks; for the end of a loop that broke."""
        for flight in self._flights:
            flight.is_filled.set()

    def _fill_next(self) -> None:
        if self._flights:
            flight = self._flights[0]
            try:
                if flight.fill is not None:
                    flight.fill()
            finally:
                flight.is_filled.set()

    def _early_s(self, flight: _Flight) -> float | None:
        """Seconds until the step behind this one is best planned; None: not before this one is committed."""
        batch = flight.batch
        if not self._is_device and self._bursts.beat_overlap(batch):
            return None
        if batch.must_settle or self._state.wants_settled or self._is_worth_a_draft(batch):
            return None
        if batch.masked:  # a row whose grammar forces tokens has computed one in vain
            wasted = sum(request.force_rate for request in batch.masked) / batch.num_tokens
            if wasted * flight.expected_s > self._own_s:
                return None
        lead_s = 2.0 * self._own_s + _EARLY * flight.expected_s
        return max(0.0, self._begun_s + flight.expected_s - lead_s - self._state.clock())

    def _is_worth_a_draft(self, batch: Batch) -> bool:
        """Whether the next step should try drafts, which go on from what this one draws."""
        speculator = self._state.speculator
        if speculator is None:
            return False
        if self._looked_at != batch.step:
            self._looked_at = batch.step
            running = [request for request in batch.decoding if request.status is Status.RUNNING]
            self._drafts_pay = speculator.look(running)
        return self._drafts_pay

    def _land(self, batch: Batch, plan: StepPlan, result: StepResult) -> None:
        state = self._state
        counters, seconds = state.counters, result.ended_s - result.begun_s
        num_steps, num_rows = 1, batch.num_tokens
        if result.output is not None:
            num_steps = 1 + len(result.output.further)
            guessed = result.output.guessed
            if guessed is not None:
                num_steps = guessed.num_steps
                num_rows = 1 + round(guessed.num_guessed / num_steps)
        counters.num_steps += num_steps
        counters.executor_seconds += seconds
        stall_s = 0.0 if self._ended_s is None else max(0.0, result.begun_s - self._ended_s)
        counters.stall_seconds += stall_s
        self._ended_s = result.ended_s
        try:
            if result.output is not None:
                self._committer.commit(batch, result.output)
                state.measure(batch, seconds / num_steps)
                self._measure_rows(batch, plan, num_rows, (seconds + stall_s) / num_steps)
            else:
                logger.error("step %d failed", batch.step, exc_info=result.error)
                assert result.error is not None
                self._recovery.repair(batch, plan, error_finish(result.error))
        except Exception as error:
            logger.exception("step %d could not be committed", batch.step)
            self._committer.fail(batch, error_finish(error))

    def _measure_rows(self, batch: Batch, plan: StepPlan, num_rows: int, seconds: float) -> None:
        """What rows cost that are all read, as those of drafts are; of a burst that guesses, on average."""
        speculator = self._state.speculator
        due = bool(batch.drafts) or batch.step % _MEASURE_EVERY == 0
        if speculator is not None and due and len(batch.samples) == batch.num_tokens:
            speculator.costs.add(num_rows, int(plan.kv_lens_B[0]), seconds)


def _wait(event: threading.Event) -> None:
    event.wait()
