"""Runs steps on a thread of their own, so that the loop reads its inbox and sends answers meanwhile.

What may happen meanwhile is what no token of the running step decides: answers of the step before go out, new requests
come in and are matched. The executor releases the GIL; a step's plan belongs to it until it is done.
"""

from __future__ import annotations

import queue
import threading

from ..model_runner.plan import Executor, StepOutput, StepPlan


class StepThread:
    """One step at a time: `start`, then `wait`."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._plans: queue.SimpleQueue[StepPlan | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[StepOutput | Exception] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="radixlang-executor", daemon=True)
        self._thread.start()

    def start(self, plan: StepPlan) -> None:
        self._plans.put(plan)

    def wait(self) -> StepOutput:
        """The running step's output; raises what the executor raised."""
        result = self._results.get()
        if isinstance(result, Exception):
            raise result
        return result

    def close(self) -> None:
        """Waits for a step that still runs, but not for ever."""
        self._plans.put(None)
        self._thread.join(5.0)

    def _run(self) -> None:
        while (plan := self._plans.get()) is not None:
            try:
                self._results.put(self._executor.execute(plan))
            except Exception as error:
                self._results.put(error)
