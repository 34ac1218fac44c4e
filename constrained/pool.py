"""Threads that compile grammars, at low priority; one that hangs is given up and replaced."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress

NICENESS = 5  # a model's step on the same core goes first
WALL_FACTOR = 10.0
"""Beside steps on all cores a thread of that niceness gets a fourth of one; beside other processes, less."""
MAX_GIVEN_UP = 4  # threads that hang and still run; no more are replaced


class Deadline:
    """Calls `on_late`, from another thread, when this thread has computed for `limit_s` and was not `cancel`led.

    On a machine that is busy with other things up to WALL_FACTOR times as much may pass.
    """

    def __init__(self, limit_s: float, on_late: Callable[[], None]) -> None:
        self._limit_s = limit_s
        self._on_late = on_late
        has_clock = hasattr(time, "pthread_getcpuclockid")
        self._clock = time.pthread_getcpuclockid(threading.get_ident()) if has_clock else None
        self._started_s = time.monotonic()
        self._started_cpu_s = self._cpu_s()
        self._is_over = False
        self._timer = self._arm(limit_s)

    def cancel(self) -> None:
        self._is_over = True
        self._timer.cancel()

    def _arm(self, delay_s: float) -> threading.Timer:
        timer = threading.Timer(delay_s, self._check)
        timer.daemon = True
        timer.start()
        return timer

    def _check(self) -> None:
        wall_s = time.monotonic() - self._started_s
        if self._is_over:
            return
        left_s = min(self._limit_s - (self._cpu_s() - self._started_cpu_s), WALL_FACTOR * self._limit_s - wall_s)
        if left_s > 0.01:
            self._timer = self._arm(left_s)
        else:
            self._on_late()

    def _cpu_s(self) -> float:
        """What the thread has computed; where that is not known, what has passed."""
        if self._clock is None:
            return time.monotonic()
        try:
            return time.clock_gettime(self._clock)
        except OSError:  # the thread has ended, and its job before it
            self._is_over = True
            return self._started_cpu_s


class CompilePool:
    """Runs jobs in `num_workers` threads. A job is a callable that never raises."""

    def __init__(self, num_workers: int) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._given_up: set[int] = set()
        self._num_workers = num_workers
        self._num_started = 0
        self._is_closed = False

    def submit(self, job: Callable[[], object]) -> None:
        """Queues a job; the threads start with the first ones."""
        with self._lock:
            if self._num_started < self._num_workers:
                self._start()
        self._jobs.put(job)

    def give_up(self, thread_id: int) -> None:
        """Replaces the thread (`threading.get_ident`) that hangs in a job; it ends when its job does."""
        with self._lock:
            if thread_id not in self._given_up and len(self._given_up) < MAX_GIVEN_UP and not self._is_closed:
                self._given_up.add(thread_id)
                self._start()

    def close(self) -> None:
        """Ends the threads once their jobs have ended; queued jobs are dropped."""
        with self._lock:
            self._is_closed = True
            for _ in range(self._num_started):
                self._jobs.put(None)

    def _start(self) -> None:
        self._num_started += 1
        threading.Thread(target=self._run, name=f"grammar-{self._num_started}", daemon=True).start()

    def _run(self) -> None:
        if hasattr(os, "setpriority"):
            with suppress(OSError):  # not permitted: the job runs all the same
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        me = threading.get_ident()
        while True:
            job = self._jobs.get()
            if job is None or self._is_closed:
                break
            job()
            with self._lock:
                if me in self._given_up:
                    self._given_up.discard(me)
                    break
