from __future__ import annotations

import asyncio
import threading

import pytest

import radixlang as sgl


@sgl.function
async def chain(s, q):
    s += q + sgl.gen("a", max_tokens=9)
    if await s.get("a"):
        s += "+" + sgl.gen("b", max_tokens=9)
    return "done"


@sgl.function
def plain(s, q):
    s += q + sgl.gen("a", max_tokens=9)
    s += s["a"]


def test_async_programs_run_in_the_callers_loop(native):
    native(lambda prompt: f"{len(prompt)}")

    async def go():
        state = await chain.arun(q="xy")
        return state.text(), state.ret_value, (await plain.arun("z")).text()

    assert asyncio.run(go()) == ("xy2+4", "done", "z11")


def test_async_programs_run_from_ordinary_code(native):
    native(lambda prompt: f"{len(prompt)}")
    assert chain.run(q="xy").text() == "xy2+4"
    assert "".join(chain.run(q="xy", stream=True).text_iter()) == "xy2+4"
    assert [s.text() for s in chain.run_batch([("x",), ("xy",)])] == ["x1+3", "xy2+4"]


def test_an_async_batch_keeps_order_and_needs_no_threads(native):
    native(lambda prompt: f"{len(prompt)}")

    async def go():
        await chain.arun(q="")
        before = threading.active_count()
        states = await chain.arun_batch([{"q": "x" * (i % 7)} for i in range(500)], max_concurrency=64)
        return threading.active_count() - before, [s["a"] for s in states]

    grown, values = asyncio.run(go())
    assert values == [str(i % 7) for i in range(500)]
    assert grown <= 0


def test_cancelling_the_task_cancels_the_program(native, until):
    backend = native()
    backend.hold_back()

    async def go():
        task = asyncio.ensure_future(chain.arun(q="x"))
        while not backend.requests:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(go())
    until(lambda: len(backend.closed) == 1)


def test_errors_are_raised_where_values_are_awaited(scripted):
    scripted(lambda text, params: 1 / 0)

    async def go():
        with pytest.raises(sgl.ProgramError, match="division"):
            await chain.arun(q="x")

    asyncio.run(go())
