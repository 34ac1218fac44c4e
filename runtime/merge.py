"""Several asynchronous iterators as one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import TypeVar

T = TypeVar("T")


async def merge(streams: Sequence[AsyncGenerator[T, None]]) -> AsyncGenerator[T, None]:
    """Items of several streams as they come; leaving it closes them all. The first error ends it.

    Bounded: items of a slow reader wait for it where they come from.
    """
    if len(streams) == 1:
        async with contextlib.aclosing(streams[0]) as only:
            async for item in only:
                yield item
        return
    queue: asyncio.Queue[T | _End] = asyncio.Queue(maxsize=len(streams) * 4)

    async def pump(stream: AsyncGenerator[T, None]) -> None:
        try:
            async for item in stream:
                await queue.put(item)
            await queue.put(_End(None))
        except Exception as error:
            await queue.put(_End(error))
        finally:
            await stream.aclose()

    tasks = [asyncio.create_task(pump(stream)) for stream in streams]
    try:
        running = len(tasks)
        while running:
            found = await queue.get()
            if not isinstance(found, _End):
                yield found
            elif found.error is not None:
                raise found.error
            else:
                running -= 1
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _End:
    """A stream's end, in its error or well."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error
