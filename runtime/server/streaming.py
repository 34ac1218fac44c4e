"""Answers written as they come: server-sent events, keep-alive comments, readers that are slow or gone.

A stream waits on its own socket only. One sweep a few seconds serves all streams of the process, so that a token
costs no timer: it sends a comment where nothing was sent for 15 s, and cancels a stream whose reader took nothing for
30 s, which frees what the request holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

from .errors import error_body, error_response
from .http import ClientGone, EventStream, Request, Response, Send

logger = logging.getLogger(__name__)

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE_S = 15.0
STALLED_S = 30.0
_SWEEP_S = 2.5
_HEADERS = [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]


def event(data: bytes) -> bytes:
    """One server-sent event."""
    return b"data: " + data + b"\n\n"


def error_events(error: BaseException) -> bytes:
    """What ends a stream that has begun: the error, then [DONE]."""
    return event(error_body(error)) + DONE


async def write_response(
    response: Response, send: Send, headers: list[tuple[bytes, bytes]], *, with_body: bool = True
) -> None:
    """A whole answer; without its body to HEAD, whose headers are those of GET."""
    raw = [
        (b"content-type", response.content_type.encode()),
        (b"content-length", str(len(response.body)).encode()),
        *headers,
        *((k.encode(), v.encode("latin-1", "replace")) for k, v in response.headers.items()),
    ]
    await send({"type": "http.response.start", "status": response.status, "headers": raw})
    await send({"type": "http.response.body", "body": response.body if with_body else b""})


class StreamWriter:
    """Writes one EventStream. Errors before the first frame become an HTTP error; `style` shapes it."""

    def __init__(self, stream: EventStream, send: Send, headers: list[tuple[bytes, bytes]], style: str) -> None:
        self._stream = stream
        self._send = send
        self._headers = headers
        self._style = style
        self._started = False
        self._sending = False
        self.last_sent = time.monotonic()
        self.task: asyncio.Task[int] | None = None
        self.is_stalled = False

    async def write(self) -> int:
        """Returns the status that the client got."""
        frames = self._stream.frames
        try:
            async for frame in frames:
                if not self._started:
                    await self._start()
                await self._put(frame)
        except Exception as error:
            if not self._started:
                response = error_response(error, self._style)
                await write_response(response, self._send, self._headers)
                return response.status
            on_error: Callable[[BaseException], bytes] = self._stream.on_error or error_events
            await self._put(on_error(error))
        finally:
            close = getattr(frames, "aclose", None)
            if close is not None:
                await close()
        if not self._started:
            await self._start()
        await self._send({"type": "http.response.body", "body": b""})
        return 200

    async def _start(self) -> None:
        self._started = True
        raw = [
            (b"content-type", self._stream.content_type.encode()),
            *_HEADERS,
            *self._headers,
            *((k.encode(), v.encode("latin-1", "replace")) for k, v in self._stream.headers.items()),
        ]
        await self._send({"type": "http.response.start", "status": 200, "headers": raw})

    async def _put(self, frame: bytes) -> None:
        self._sending = True
        await self._send({"type": "http.response.body", "body": frame, "more_body": True})
        self._sending = False
        self.last_sent = time.monotonic()

    async def sweep(self, now: float) -> None:
        """Called by the sweeper: keeps the connection alive, or gives up on its reader."""
        idle = now - self.last_sent
        if self._sending:
            if idle > STALLED_S and self.task is not None:
                logger.info("a reader took nothing for %.0f s; its request is aborted", idle)
                self.is_stalled = True
                self.task.cancel()
        elif idle >= KEEP_ALIVE_S and self._stream.keep_alive:
            self.last_sent = now
            if not self._started:
                await self._start()
            if not self._sending:
                await self._put(self._stream.keep_alive)


class Sweeper:
    """All streams that are being written."""

    def __init__(self) -> None:
        self._writers: set[StreamWriter] = set()
        self._task: asyncio.Task[None] | None = None
        self._sweeps: set[asyncio.Task[None]] = set()

    async def write(self, request: Request, writer: StreamWriter) -> int:
        """Writes to the end, or until the client goes (ClientGone)."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())
        self._writers.add(writer)
        writer.task = asyncio.get_running_loop().create_task(writer.write())
        try:
            return await request.guard(writer.task)
        except asyncio.CancelledError:
            if writer.is_stalled:
                raise ClientGone from None
            raise
        finally:
            self._writers.discard(writer)

    async def _run(self) -> None:
        while self._writers:
            await asyncio.sleep(_SWEEP_S)
            self.sweep(time.monotonic())

    def sweep(self, now: float) -> None:
        for writer in list(self._writers):
            task = asyncio.get_running_loop().create_task(writer.sweep(now))
            self._sweeps.add(task)
            task.add_done_callback(self._sweeps.discard)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
