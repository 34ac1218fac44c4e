import threading
import time

from radixlang.constrained.pool import WALL_FACTOR, CompilePool, Deadline


def test_a_thread_that_hangs_is_replaced_and_ends_with_its_job() -> None:
    pool = CompilePool(1)
    gate, done = threading.Event(), threading.Event()
    hanging: list[int] = []
    started = threading.Event()

    def hang() -> None:
        hanging.append(threading.get_ident())
        started.set()
        gate.wait(20)

    pool.submit(hang)
    assert started.wait(20)
    pool.submit(done.set)
    pool.give_up(hanging[0])
    assert done.wait(20)
    again = threading.Event()
    gate.set()
    pool.submit(again.set)
    assert again.wait(20)
    pool.close()


def test_a_deadline_counts_what_the_thread_computes() -> None:
    late = threading.Event()
    deadline = Deadline(0.05, late.set)
    started = time.process_time()
    while not late.is_set() and time.process_time() - started < 20:
        sum(range(1000))
    assert late.is_set()
    deadline.cancel()


def test_a_deadline_ends_for_a_thread_that_only_waits_too() -> None:
    late = threading.Event()
    started = time.monotonic()
    Deadline(0.05, late.set)
    assert late.wait(20)
    assert time.monotonic() - started >= 0.05 * WALL_FACTOR - 0.02


def test_a_deadline_that_is_cancelled_is_never_late() -> None:
    late = threading.Event()
    deadline = Deadline(0.02, late.set)
    deadline.cancel()
    assert not late.wait(0.2)
