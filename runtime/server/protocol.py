"""HTTP/1.1 as uvicorn parses it, with bounds on headers that uvicorn does not set.

At most 16 KiB and 100 header lines (431), all of them within 10 s of the first byte (408); a body has either a length
or chunks, not both (400). Every refusal has the body that errors have elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .lingering import LingeringTransport

MAX_HEADER_BYTES = 16 * 1024
MAX_HEADER_LINES = 100
HEADERS_S = 10.0
SEND_BUFFER_BYTES = 256 * 1024


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_headers = True
        self._header_bytes = 0
        self._header_lines = 0
        self._refused = False
        self._header_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Bounds what the system holds for a client that does not read: it would grow to megabytes by itself."""
        connection = transport.get_extra_info("socket")
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        super().connection_made(transport)
        self._lingering = LingeringTransport(transport, self.loop, self._has_unread)
        self.transport = self._lingering

    def _has_unread(self) -> bool:
        return self._refused or (self.cycle is not None and self.cycle.more_body)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self._lingering.closed()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused or self._lingering.is_lingering:
            return
        if self._in_headers:
            if self._header_timer is None:
                self._arm()
            self._header_bytes += len(data)
            # A body may follow the headers in the same piece: only what is certainly header counts here.
            end = data.find(b"\r\n\r\n")
            if self._header_bytes - (len(data) - end if end >= 0 else 0) > MAX_HEADER_BYTES:
                self._refuse(b"431 Request Header Fields Too Large", "the headers are over 16 KiB")
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        self._in_headers = True
        self._header_lines = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_lines += 1
        if self._header_lines > MAX_HEADER_LINES:
            self._refuse(b"431 Request Header Fields Too Large", f"there are over {MAX_HEADER_LINES} headers")
        if not self._refused:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_headers = False
        self._header_bytes = 0
        self._disarm()
        if self._refused:
            return
        names = [name for name, _ in self.headers]
        if names.count(b"content-length") + names.count(b"transfer-encoding") > 1:
            self._refuse(b"400 Bad Request", "a body has one length, or chunks, not both")
            return
        if self.parser is not None and names.count(b"host") != 1 and self.parser.get_http_version() == "1.1":
            self._refuse(b"400 Bad Request", "an HTTP/1.1 request names its host, once")
            return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._refused:
            super().on_message_complete()
        self._in_headers = True  # what comes next is another request's
        self._header_bytes = 0

    def send_400_response(self, msg: str) -> None:
        """uvicorn's answer to what is no HTTP, in our shape."""
        self._refuse(b"400 Bad Request", "this is no HTTP/1.1 request")

    def _arm(self) -> None:
        self._header_timer = self.loop.call_later(HEADERS_S, self._too_slow)

    def _disarm(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _too_slow(self) -> None:
        if self._in_headers and not self.transport.is_closing():
            self._refuse(b"408 Request Timeout", f"the headers did not come within {HEADERS_S:.0f} s")

    def _refuse(self, status: bytes, why: str) -> None:
        if self._refused:
            return
        self._refused = True
        self._disarm()
        body = b'{"error":{"message":"%b","type":"invalid_request_error","param":null,"code":null}}' % why.encode()
        if not self.transport.is_closing():
            self.transport.write(
                b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
                % (status, len(body), body)
            )
            self.transport.close()
