"""A stream's path that the engine keeps, so that only what is new travels."""

from __future__ import annotations

import asyncio
import weakref
from typing import Any, NamedTuple

from .backend.base_backend import NativeBackend
from .loop import background_loop
from .names import new_name


class KeptPath:
    """The name of a path of token ids in the engine. Dropping the last reference releases it there."""

    def __init__(self, backend: NativeBackend, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """loop: the backend's; None is the language's own."""
        self.name = new_name()
        weakref.finalize(self, _release, backend, self.name, loop or background_loop()).atexit = False


def _release(backend: NativeBackend, name: str, loop: asyncio.AbstractEventLoop) -> None:
    if not loop.is_closed():
        asyncio.run_coroutine_threadsafe(backend.native_release([name]), loop)


class Base(NamedTuple):
    """What of a stream's token path the engine has already."""

    path: KeptPath
    num_tokens: int
    """From the beginning of the kept path."""
    num_parts: int
    """Parts of the token path that those tokens are."""

    def extend(self, parts: list[str | list[int]]) -> dict[str, Any]:
        """Fields of a request for all of `parts`. The empty span of ids says that text behind it continues a text."""
        return {
            "parent": self.path.name,
            "parent_len": self.num_tokens,
            "prompt_parts": [[], *parts[self.num_parts :]],
        }
