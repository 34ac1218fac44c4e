"""The loop: read the inbox, build a step, run it, commit it, tell what happened.

One Scheduler owns every request of an engine. `post` may be called from any thread; all else happens on the thread that
calls `run` (or `step`).
"""

from __future__ import annotations

import heapq
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from ...radix_cache.interface import PrefixCache
from ...radix_cache.no_cache import NoCache
from ...radix_cache.slot_pool import SlotPool
from ...radix_cache.tree import RadixTree
from ..config import EngineConfig
from ..kv_events import open_kv_events
from ..lora.names import AdapterNames
from ..messages import (
    Abort,
    AbortAll,
    Control,
    Finish,
    FromEngine,
    Outputs,
    Pause,
    Release,
    Reply,
    Submit,
    Submits,
    ToEngine,
)
from ..model_runner.plan import Executor, TakesTrees
from ..request import Request, Status
from ..speculation.select import make_speculator
from ..tokenizer.interface import Tokenizer
from .adapters import Adapters
from .audit import audit, quick_check
from .commit import Committer
from .grammars import GrammarCompiler, Grammars
from .inspect import answer
from .intake import Intake, error_finish
from .loop import StepLoop
from .planner import Planner
from .state import State
from .stats import snapshot
from .step_thread import Steps, overlap_pays, steps_of

if TYPE_CHECKING:
    from ...kernels.cpu.predictor import HabitTables

logger = logging.getLogger(__name__)

_REMEMBER_S = 30.0  # aborts of unknown ids, and ids that finished
_AUDIT_STEPS = 1000
_QUIET_S = 1.0  # idle for so long, it looks after its slots
_LONGEST_SLEEP_S = 60.0  # a deadline may lie beyond what a lock can wait for
_STALLED_S = 0.05  # requests that wait for nothing but memory or `resume` are looked at this often


class Scheduler:
    """Continuous batching over one executor."""

    def __init__(
        self,
        config: EngineConfig,
        executor: Executor,
        tokenizer: Tokenizer,
        grammars: GrammarCompiler | None,
        send: Callable[[FromEngine], None],
        *,
        max_context: int,
        eos_token_ids: frozenset[int],
        clock: Callable[[], float] = time.monotonic,
        draft_executor: Executor | None = None,
        adapter_names: AdapterNames | None = None,
        habits: HabitTables | None = None,
    ) -> None:
        """`send` is called on the loop's thread: at most one Outputs a step. draft_executor: of the small model that
        drafts. adapter_names: None where the executor takes no adapters. habits: what the model usually says, for the
        executor's predictors. Raises ConfigError for a bad policy."""
        self._executor = executor
        self._send = send
        self._inbox: deque[ToEngine] = deque()
        self._wake = threading.Event()
        pool = SlotPool(executor.num_slots, config.page_size, strict=False)
        policy = config.radix_eviction_policy
        kv_events = open_kv_events(config, executor.device)
        log = kv_events.log if kv_events is not None else None
        cache: PrefixCache = NoCache(pool) if config.disable_radix_cache else RadixTree(pool, policy=policy, events=log)
        self._state = State(
            config,
            cache,
            max_context=max_context,
            vocab_size=executor.vocab_size,
            eos_token_ids=eos_token_ids,
            clock=clock,
        )
        self._state.kv_events = kv_events
        self._state.adapters = Adapters(adapter_names, max_in_step=config.max_loras_per_batch, wake=self._alert)
        self._state.speculator = make_speculator(
            config,
            self._state.rows,
            page_size=cache.page_size,
            max_context=max_context,
            executor=executor,
            draft_executor=draft_executor,
            branches=isinstance(executor, TakesTrees) and executor.takes_trees and cache.page_size == 1,
            habits=habits,
        )
        self._grammars = Grammars(grammars, executor.vocab_size, config.max_running_requests, self._alert)
        self._intake = Intake(self._state, tokenizer, self._grammars)
        self._planner = Planner(self._state, self._grammars)
        self._committer = Committer(self._state)
        self._loop = StepLoop(self._state, self._planner, self._committer, executor)
        self._deadlines: list[tuple[float, int, Request]] = []
        self._aborted: dict[str, tuple[float, str]] = {}
        self._paused = False
        self._checked_step = self._audited_step = 0
        self._shut_down = False

    # ---- from outside

    def post(self, message: ToEngine) -> None:
        """Thread-safe; wakes the loop."""
        self._inbox.append(message)
        self._alert()

    def _alert(self) -> None:
        """Something waits for the loop. Thread-safe."""
        self._state.halt[0] = 1
        self._wake.set()

    @property
    def is_idle(self) -> bool:
        """No request is queued or runs. Thread-safe."""
        return not self._inbox and not self._state.requests

    def stats(self) -> dict[str, object]:
        """Gauges and counters, each counted by its owner."""
        return snapshot(self._state) | self._grammars.totals()

    def run(self) -> None:
        """Until Control "shutdown"; blocks while there is nothing to do."""
        config = self._state.config
        is_sync = config.disable_overlap_schedule
        if is_sync is None:
            is_sync = not overlap_pays(self._executor, config.num_threads)
        thread = None if is_sync else steps_of(self._executor, self._state.clock, self._wake.set)
        try:
            while not self._shut_down:
                self._wake.clear()
                wait_s = self._turn(thread) if thread is not None else (0.0 if self.step() else self._idle_s())
                if self._shut_down or wait_s == 0.0:
                    continue
                if thread is not None and self._loop.num_in_flight and thread.is_done:
                    continue  # it was done before the wake was cleared: two steps may end while one turn is taken
                if self._is_to_check:
                    quiet_s = _QUIET_S if wait_s is None else min(_QUIET_S, wait_s)
                    if not self._wake.wait(quiet_s) and quiet_s == _QUIET_S:
                        self._check_slots()
                    continue
                self._wake.wait(wait_s)
        finally:
            self._loop.close()
            if self._state.kv_events is not None:
                self._state.kv_events.close()
            if thread is not None:
                thread.close()

    # ---- one turn

    def step(self) -> bool:
        """One step on this thread, its answers sent. True if something was done."""
        begun_s, ran_s = time.perf_counter(), self._state.counters.executor_seconds
        self._state.halt[0] = 0
        busy = self._tend()
        if not self._paused and not self._shut_down and self._loop.run_one():
            busy = True
            self._count_steps()
        busy |= bool(self._state.outputs)
        self._flush_outputs()
        counters = self._state.counters
        counters.scheduler_seconds += time.perf_counter() - begun_s - (counters.executor_seconds - ran_s)
        return busy

    def _turn(self, steps: Steps) -> float | None:
        """Commits what is done, starts what is due, tells; how long to sleep then (None: until woken)."""
        counters, loop = self._state.counters, self._loop
        begun_s, ran_s = time.perf_counter(), loop.own_thread_s
        self._state.halt[0] = 0
        if loop.num_in_flight and steps.is_done:
            self._state.now_s = self._state.clock()
            loop.settle(steps)
            self._count_steps()
        busy = self._tend()
        if self._paused or self._shut_down:
            while loop.num_in_flight:
                loop.settle(steps)
            wait_s = None
        else:
            wait_s = loop.advance(steps)
        busy |= bool(self._state.outputs)
        self._flush_outputs()
        counters.scheduler_seconds += time.perf_counter() - begun_s - (loop.own_thread_s - ran_s)
        if wait_s is None and not loop.num_in_flight:
            return 0.0 if busy else self._idle_s()
        return wait_s

    def _tend(self) -> bool:
        """Everything that is no step. True if something was done."""
        self._state.now_s = self._state.clock()
        busy = self._drain()
        busy |= self._expire()
        busy |= self._poll_grammars()
        for reply in self._state.adapters.ready():
            self._send(reply)
        return busy

    def _count_steps(self) -> None:
        if self._state.counters.num_steps - self._checked_step >= _AUDIT_STEPS:
            self._checked_step = self._state.counters.num_steps
            quick_check(self._state)

    @property
    def _is_to_check(self) -> bool:
        """It is idle, and steps ran since its slots were last looked at."""
        num_steps = self._state.counters.num_steps
        return num_steps != self._audited_step and not self._state.running and not self._loop.num_in_flight

    def _check_slots(self) -> None:
        """In counts after any work; slot by slot after much of it, or where those are wrong."""
        num_steps = self._state.counters.num_steps
        is_right = quick_check(self._state)
        if not is_right or num_steps // _AUDIT_STEPS != self._audited_step // _AUDIT_STEPS:
            audit(self._state)
        self._audited_step = num_steps

    def _flush_outputs(self) -> None:
        outputs = self._state.outputs
        if self._state.kv_events is not None:
            self._state.kv_events.publish()
        if outputs:
            self._state.outputs = []
            self._send(Outputs(outputs))

    def _idle_s(self) -> float | None:
        """How long the loop may sleep if nothing arrives."""
        while self._deadlines and self._deadlines[0][2].status is Status.FINISHED:
            heapq.heappop(self._deadlines)
        if self._deadlines and (self._state.running or len(self._state.queue)):
            return _STALLED_S
        ends = [self._deadlines[0][0]] if self._deadlines else []
        if (end_s := self._state.leases.next_end_s) is not None:
            ends.append(end_s)
        return min(_LONGEST_SLEEP_S, max(0.0, min(ends) - self._state.clock())) if ends else None

    # ---- the inbox

    def _drain(self) -> bool:
        inbox = self._inbox
        busy = bool(inbox)
        while inbox:
            message = inbox.popleft()
            if isinstance(message, Submit):
                self._submit(message)
            elif isinstance(message, Submits):
                for submit in message.items:
                    self._submit(submit)
            elif isinstance(message, Abort):
                self._abort(message.rid, message.reason)
            elif isinstance(message, Pause):
                if (request := self._state.requests.get(message.rid)) is not None:
                    self._state.pause(request, message.on)
            elif isinstance(message, AbortAll):
                for request in list(self._state.requests.values()):
                    self._end(request, Finish("abort", message=message.reason))
            elif isinstance(message, Release):
                for name in message.streams:
                    self._state.leases.release(name)
            else:
                self._control(message)
        return busy

    def _submit(self, submit: Submit) -> None:
        asked = submit.rid.removesuffix(f"#{submit.index}") if submit.index else submit.rid
        aborted = self._aborted.get(asked)
        if aborted is not None and submit.index == submit.sampling.n - 1:  # all of it has come
            del self._aborted[asked]
        self._intake.submit(submit)
        request = self._state.requests.get(submit.rid)
        if request is None or request.submit is not submit:
            return
        if aborted is not None and aborted[0] > self._state.now_s:
            self._end(request, Finish("abort", message=aborted[1]))
            return
        heapq.heappush(self._deadlines, (request.deadline_s, request.seq, request))
        if len(self._deadlines) > 2 * len(self._state.requests) + 64:
            self._deadlines = [entry for entry in self._deadlines if entry[2].status is not Status.FINISHED]
            heapq.heapify(self._deadlines)

    def _abort(self, rid: str, reason: str) -> None:
        request = self._state.requests.get(rid)
        if request is not None:
            self._end(request, Finish("abort", message=reason))
        elif rid and rid not in self._state.finished_rids:
            self._aborted[rid] = (self._state.now_s + _REMEMBER_S, reason)

    def _end(self, request: Request, finish: Finish) -> None:
        self._grammars.forget(request)
        self._state.finish(request, finish)

    def _control(self, message: Control) -> None:
        data: dict[str, object] = {"success": True}
        if message.action == "load_adapter":
            self._state.adapters.load(message)
            return
        if message.action == "unload_adapter":
            data = self._state.adapters.unload(str(message.data["name"]), self._state.requests.values())
        elif message.action == "flush":
            self._state.cache.flush()
            if self._state.speculator is not None:
                self._state.speculator.flush()
        elif message.action == "stats":
            data = self.stats()
        elif message.action == "pause":
            self._paused = True
        elif message.action == "resume":
            self._paused = False
        elif message.action == "shutdown":
            for request in list(self._state.requests.values()):
                self._end(request, Finish("abort", message="the engine shuts down"))
            self._flush_outputs()
            self._shut_down = True
        elif message.action != "ping":
            unknown: dict[str, object] = {"success": False, "error": f"unknown action {message.action!r}"}
            data = answer(self._state, message.action, message.data) or unknown
        self._send(Reply(message.id, data))

    # ---- time

    def _expire(self) -> bool:
        """Deadlines, leases, remembered aborts."""
        state, now_s = self._state, self._state.now_s
        busy = False
        while self._deadlines and self._deadlines[0][0] <= now_s:
            _, _, request = heapq.heappop(self._deadlines)
            if request.status is not Status.FINISHED:
                message = f"not finished within {request.submit.timeout_s:g} s"
                self._end(request, Finish("abort", message=message, code="timeout"))
                busy = True
        state.leases.expire(now_s)
        finished = state.finished_rids
        while finished and next(iter(finished.values())) + _REMEMBER_S <= now_s:
            finished.popitem(last=False)
        while self._aborted:
            rid, (until_s, _) = next(iter(self._aborted.items()))
            if until_s > now_s and len(self._aborted) < 65536:
                break
            del self._aborted[rid]
        return busy

    def _poll_grammars(self) -> bool:
        ready = self._grammars.ready()
        for request, future in ready:
            state = self._state
            if request.status is Status.FINISHED:
                continue
            state.compiling.pop(request, None)
            request.grammar_s = state.now_s - request.arrival_s
            try:
                self._intake.accept(request, future.result())
            except Exception as error:
                finish = error_finish(error)
                if finish.status == 500:
                    logger.exception("request %s: its constraint failed", request.rid)
                state.finish(request, finish)
        return bool(ready)
