"""Logging, set up once by a program and never by an import."""

from __future__ import annotations

import logging
import sys

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _OneLine(logging.Formatter):
    """A record is one line, but for tracebacks: control characters of its message are escaped."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in record.message)
        return super().formatMessage(record)


def set_up_logging(level: str = "info", *, requests: bool = True) -> None:
    """Lines on standard error. `requests`: one line for each request, too."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine(_FORMAT, datefmt="%Y-%m-%d %H:%M:%S"))
    root = logging.getLogger("radixlang")
    root.handlers = [handler]
    root.propagate = False
    root.setLevel(level.upper())
    logging.getLogger("radixlang.request").setLevel(level.upper() if requests else "WARNING")
