"""Work at once: results in order, no more than asked for at a time, nothing left behind."""

import asyncio

import pytest

from radixlang.lang.at_once import at_once


def test_results_come_in_order_and_few_run_at_a_time() -> None:
    running, most = 0, 0

    async def work(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(number % 3):
            await asyncio.sleep(0)
        running -= 1
        return number

    assert asyncio.run(at_once((work(i) for i in range(20)), width=4)) == list(range(20))
    assert most == 4
    assert asyncio.run(at_once(work(i) for i in range(5))) == list(range(5))
    assert asyncio.run(at_once([])) == []


@pytest.mark.parametrize("width", [None, 2])
def test_a_failure_or_a_cancelled_caller_leaves_nothing_running(width) -> None:
    ended = []

    async def stay(number: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(number)

    async def fail() -> None:
        await asyncio.sleep(0)
        raise KeyError("told")

    async def check() -> None:
        with pytest.raises(KeyError, match="told"):
            await at_once([stay(0), fail(), stay(1), stay(2)], width=width)
        assert ended == ([0] if width else [0, 1, 2]), "who began has ended"
        ended.clear()
        task = asyncio.ensure_future(at_once([stay(0), stay(1), stay(2)], width=width))
        for _ in range(3):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended == ([0, 1] if width else [0, 1, 2])
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(check())
