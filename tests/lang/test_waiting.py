"""Bodies whose caller has gone end quietly, and leave their thread to the others."""

import threading
from concurrent.futures import Future

import pytest

from radixlang.lang.waiting import BodyPool, wait


@pytest.mark.parametrize("fails", [False, True])
def test_a_body_that_was_cancelled_ends_alone(fails) -> None:
    pool = BodyPool(max_workers=1)
    begun, leave = threading.Event(), threading.Event()
    value: Future[int] = Future()

    def body() -> int:
        begun.set()
        leave.wait(30)
        if fails:
            raise ValueError("late")
        return 1

    waits = pool.submit(lambda: wait(value))  # on the same thread
    cancelled = pool.submit(body)
    assert begun.wait(30)
    assert cancelled.cancel()
    leave.set()
    value.set_result(2)
    assert waits.result(30) == 2
    assert pool.submit(lambda: 3).result(30) == 3
