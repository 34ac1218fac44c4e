"""A connection's end while its client still sends.

A socket that is closed with bytes unread resets the connection, and most clients then never see the answer that said
why: a 413 becomes a broken pipe. So what still comes is read and dropped for a short while (RFC 9112, section 9.6).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

LINGER_S = 5.0


class LingeringTransport(asyncio.Transport):
    """`raw` with another `close`. `has_unread`: whether the client may be sending still."""

    def __init__(self, raw: asyncio.Transport, loop: asyncio.AbstractEventLoop, has_unread: Callable[[], bool]) -> None:
        super().__init__()
        self._raw = raw
        self._loop = loop
        self._has_unread = has_unread
        self._timer: asyncio.TimerHandle | None = None
        self.write = raw.write  # type: ignore[method-assign]  # one call less a token
        self.get_extra_info = raw.get_extra_info  # type: ignore[method-assign]

    @property
    def is_lingering(self) -> bool:
        """What comes is to be dropped."""
        return self._timer is not None

    def is_closing(self) -> bool:
        return self._timer is not None or self._raw.is_closing()

    def close(self) -> None:
        """Says that nothing more is written; the connection ends with the client, or after LINGER_S."""
        if self._timer is not None:
            return
        if self._raw.is_closing() or not self._raw.can_write_eof() or not self._has_unread():
            self._raw.close()
            return
        self._raw.write_eof()
        self._raw.resume_reading()
        self._timer = self._loop.call_later(LINGER_S, self._raw.close)

    def closed(self) -> None:
        """The connection is gone."""
        if self._timer is not None:
            self._timer.cancel()

    def set_protocol(self, protocol: Any) -> None:
        self._raw.set_protocol(protocol)
