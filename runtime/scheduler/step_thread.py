"""Runs steps in order on a thread of their own, so that the loop plans the next one meanwhile.

A plan may be given while the step before it still runs. The tokens that it needs of that step are relayed here, on the
way into the executor: one gather from the last draws. Behind a step that failed nothing runs until the loop has seen
the failure.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

from ...kernels.cpu.load import default_threads
from ...radix_cache.node import EMPTY, Int32
from ..model_runner.plan import Executor, StepOutput, StepPlan


class StepDropped(Exception):
    """The step before failed: this one was not run."""


class StepResult(NamedTuple):
    """Exactly one of output and error; when it began and ended, on the loop's clock."""

    output: StepOutput | None
    error: Exception | None
    begun_s: float
    ended_s: float


class Steps(Protocol):
    """Steps under way, at most two; results come in the order of the plans."""

    @property
    def is_done(self) -> bool:
        """`wait` would not block."""
        ...

    def start(self, plan: StepPlan, *, is_ahead: bool) -> None:
        """is_ahead: the step before is not committed yet."""
        ...

    def wait(self) -> StepResult:
        """Of the oldest step under way."""
        ...

    def close(self) -> None:
        """Waits for a step that still runs, but not for ever."""
        ...


@runtime_checkable
class LaunchesAhead(Protocol):
    """An executor whose device takes the next step while one runs."""

    def steps(self, clock: Callable[[], float], on_done: Callable[[], None]) -> Steps: ...


def steps_of(executor: Executor, clock: Callable[[], float], on_done: Callable[[], None]) -> Steps:
    """on_done: called on another thread after each step."""
    if isinstance(executor, LaunchesAhead):
        return executor.steps(clock, on_done)
    return StepThread(executor, clock, on_done)


def overlap_pays(executor: Executor, num_threads: int) -> bool:
    """Whether planning a step takes nothing from the one that runs: it runs on a device, or leaves a core.

    num_threads: of the executor; 0: every core. Where all cores compute, 2 of 2, the processor time of a token was the
    same or 1 to 3 % more with overlap (batches of 1, 16, 64, 256), and every step waits for a thread to wake. Short
    steps are not overlapped in either case: see Bursts.beat_overlap.
    """
    return isinstance(executor, LaunchesAhead) or 0 < num_threads < default_threads()


class RelayedSteps:
    """The executor behind the relay: one step after the other, on whatever thread calls `run`."""

    def __init__(self, executor: Executor, clock: Callable[[], float]) -> None:
        self._executor = executor
        self._clock = clock
        self._drawn: Int32 | None = EMPTY

    def run(self, plan: StepPlan, *, is_ahead: bool) -> StepResult:
        """Never raises."""
        begun_s = self._clock()
        try:
            if is_ahead and self._drawn is None:
                raise StepDropped
            if plan.relay_rows.size:
                assert self._drawn is not None
                plan.token_ids_T[plan.relay_rows] = self._drawn[plan.relay_samples]
            output = self._executor.execute(plan)
            self._drawn = output.token_ids_S
        except Exception as error:
            self._drawn = None
            return StepResult(None, error, begun_s, self._clock())
        return StepResult(output, None, begun_s, self._clock())


class StepThread:
    """Steps on a thread."""

    def __init__(self, executor: Executor, clock: Callable[[], float], on_done: Callable[[], None]) -> None:
        """on_done: called on the thread after each step."""
        self._steps = RelayedSteps(executor, clock)
        self._on_done = on_done
        self._plans: queue.SimpleQueue[tuple[StepPlan, bool] | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[StepResult] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="radixlang-executor", daemon=True)
        self._thread.start()

    @property
    def is_done(self) -> bool:
        return not self._results.empty()

    def start(self, plan: StepPlan, *, is_ahead: bool) -> None:
        self._plans.put((plan, is_ahead))

    def wait(self) -> StepResult:
        return self._results.get()

    def close(self) -> None:
        """Waits for a step that still runs, but not for ever."""
        self._plans.put(None)
        self._thread.join(5.0)

    def _run(self) -> None:
        while (entry := self._plans.get()) is not None:
            plan, is_ahead = entry
            self._results.put(self._steps.run(plan, is_ahead=is_ahead))
            self._on_done()
