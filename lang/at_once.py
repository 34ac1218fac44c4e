"""Several pieces of work at once, of which none outlives the others' failure."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar, cast

T = TypeVar("T")


async def at_once(works: Iterable[Coroutine[Any, Any, T]], *, width: int | None = None) -> list[T]:
    """Their results, in order. Where one fails, or the caller is cancelled, all have ended before that is told.

    width: how many run at a time; None: all.
    """
    every = list(works)
    found: list[T | None] = [None] * len(every)
    waiting = iter(enumerate(every))

    async def run() -> None:
        for place, work in waiting:
            found[place] = await work

    tasks = [asyncio.ensure_future(run()) for _ in range(min(width or len(every), len(every)))]
    try:
        await asyncio.gather(*tasks)
        return cast("list[T]", found)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for work in every:
            work.close()  # what nobody began
