"""Steps one ahead of the device: while one runs, the next is launched behind it, its tokens taken from the draws there.

One thread launches, because `fill_masks` may wait until the scheduler has committed the step before; another waits for
the device. Implements `scheduler.step_thread.Steps`.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from ...scheduler.step_thread import StepDropped, StepResult
from ..plan import StepPlan
from .executor import CudaExecutor, Launched


class CudaSteps:
    """At most two steps under way."""

    def __init__(self, executor: CudaExecutor, clock: Callable[[], float], on_done: Callable[[], None]) -> None:
        """on_done: called on a thread of its own after each step."""
        self._executor = executor
        self._clock = clock
        self._on_done = on_done
        self._plans: queue.SimpleQueue[tuple[StepPlan, bool] | None] = queue.SimpleQueue()
        self._launched: queue.SimpleQueue[tuple[Launched | Exception, float] | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[StepResult] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._launch, name="radixlang-launch", daemon=True),
            threading.Thread(target=self._fetch, name="radixlang-fetch", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def is_done(self) -> bool:
        return not self._results.empty()

    def start(self, plan: StepPlan, *, is_ahead: bool) -> None:
        self._plans.put((plan, is_ahead))

    def wait(self) -> StepResult:
        return self._results.get()

    def close(self) -> None:
        """Waits for steps that still run, but not for ever."""
        self._plans.put(None)
        for thread in self._threads:
            thread.join(5.0)

    def _launch(self) -> None:
        failed = False
        while (entry := self._plans.get()) is not None:
            plan, is_ahead = entry
            begun_s = self._clock()
            try:
                if is_ahead and failed:
                    raise StepDropped
                launched: Launched | Exception = self._executor.launch(plan, relays=True)
                failed = False
            except Exception as error:
                launched, failed = error, True
            self._launched.put((launched, begun_s))
        self._launched.put(None)

    def _fetch(self) -> None:
        ended_s = 0.0
        while (entry := self._launched.get()) is not None:
            launched, begun_s = entry
            begun_s = max(begun_s, ended_s)  # the device had the step before until then
            try:
                if isinstance(launched, Exception):
                    raise launched
                output = launched.result()
                ended_s = self._clock()
                result = StepResult(output, None, begun_s, ended_s)
            except Exception as error:
                ended_s = self._clock()
                result = StepResult(None, error, begun_s, ended_s)
            self._results.put(result)
            self._on_done()
