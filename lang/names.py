"""Names for requests, streams and kept paths: different in every process, and cheap."""

from __future__ import annotations

import itertools
import os
import uuid

_numbers = itertools.count()
_prefix = uuid.uuid4().hex


def new_name() -> str:
    """One that no other stream, request or path has."""
    return f"{_prefix}{next(_numbers):x}"


def _renew() -> None:
    global _prefix
    _prefix = uuid.uuid4().hex


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
