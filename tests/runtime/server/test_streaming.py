"""Streams whose reader is slow, gone, or kept waiting."""

import asyncio
import time

import pytest

from radixlang.runtime.server import streaming
from radixlang.runtime.server.bodies import BodyBudget, HeldBody
from radixlang.runtime.server.http import ClientGone, EventStream, Request
from radixlang.runtime.server.streaming import StreamWriter, Sweeper


class Wire:
    """An ASGI connection by hand: what was sent, and a reader that can stall or leave."""

    def __init__(self):
        self.sent, self.reads, self.left = [], asyncio.Event(), asyncio.Event()
        self.reads.set()
        scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "query_string": b""}
        self.request = Request(scope, self.receive, request_id="r", max_body=100, held=HeldBody(BodyBudget(100)))

    async def receive(self):
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        await self.reads.wait()
        self.sent.append(message)

    @property
    def body(self):
        return b"".join(m.get("body", b"") for m in self.sent)


async def until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0)


def test_a_long_wait_before_the_first_token_is_kept_alive():
    async def run():
        wire, sweeper, go = Wire(), Sweeper(), asyncio.Event()

        async def frames():
            await go.wait()
            yield b"data: 1\n\n"

        writer = StreamWriter(EventStream(frames()), wire.send, [], "openai")
        task = asyncio.create_task(sweeper.write(wire.request, writer))
        await until(lambda: writer.task is not None)
        sweeper.sweep(time.monotonic() + streaming.KEEP_ALIVE_S - 1)
        await asyncio.sleep(0)
        assert wire.sent == []
        sweeper.sweep(time.monotonic() + streaming.KEEP_ALIVE_S + 1)
        await until(lambda: b": keep-alive" in wire.body)
        go.set()
        assert await task == 200
        assert wire.body.endswith(b"data: 1\n\n")
        assert sum(m["type"] == "http.response.start" for m in wire.sent) == 1
        await sweeper.close()

    asyncio.run(run())


def test_an_error_after_a_keep_alive_is_an_event():
    async def run():
        wire, sweeper, go = Wire(), Sweeper(), asyncio.Event()

        async def frames():
            await go.wait()
            raise ZeroDivisionError
            yield b""

        writer = StreamWriter(EventStream(frames()), wire.send, [], "openai")
        task = asyncio.create_task(sweeper.write(wire.request, writer))
        await until(lambda: writer.task is not None)
        sweeper.sweep(time.monotonic() + streaming.KEEP_ALIVE_S + 1)
        await until(lambda: wire.sent)
        go.set()
        await task
        assert b"internal_error" in wire.body
        assert wire.body.endswith(b"data: [DONE]\n\n")
        await sweeper.close()

    asyncio.run(run())


def test_a_reader_that_takes_nothing_is_given_up_and_its_frames_closed():
    async def run():
        wire, sweeper, closed = Wire(), Sweeper(), []

        async def frames():
            try:
                while True:
                    yield b"data: 1\n\n"
            finally:
                closed.append(True)

        wire.reads.clear()
        writer = StreamWriter(EventStream(frames()), wire.send, [], "openai")
        writer._started = True
        task = asyncio.create_task(sweeper.write(wire.request, writer))
        await until(lambda: writer._sending)
        sweeper.sweep(time.monotonic() + streaming.STALLED_S + 1)
        with pytest.raises(ClientGone):
            await task
        assert closed == [True]
        await sweeper.close()

    asyncio.run(run())


def test_a_reader_that_leaves_closes_the_frames():
    async def run():
        wire, sweeper, closed = Wire(), Sweeper(), []

        async def frames():
            try:
                yield b"data: 1\n\n"
                await asyncio.sleep(3600)
            finally:
                closed.append(True)

        writer = StreamWriter(EventStream(frames()), wire.send, [], "openai")
        task = asyncio.create_task(sweeper.write(wire.request, writer))
        await until(lambda: b"data: 1" in wire.body)
        wire.left.set()
        with pytest.raises(ClientGone):
            await task
        assert closed == [True]
        await sweeper.close()

    asyncio.run(run())
