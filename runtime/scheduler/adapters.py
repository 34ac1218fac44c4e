"""The engine's LoRA adapters as the scheduler sees them: by name, how many compute at once, loading while steps run.

A step takes the adapters of its sequences, at most `max_loras_per_batch`; requests of further ones wait until one of
those that run is done. Folders are read on a thread; names change on the loop's thread alone.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import BadAdapter, InternalError, ModelNotFound, RadixlangError, RequestError
from ...radix_cache.node import EMPTY, Int32
from ..lora.adapter import Adapter
from ..lora.names import AdapterNames, unknown_adapter
from ..messages import Control, Reply
from ..request import Request

logger = logging.getLogger(__name__)


class Adapters:
    """One engine's. Without `names` it has none and takes none."""

    def __init__(self, names: AdapterNames | None, *, max_in_step: int, wake: Callable[[], None]) -> None:
        """wake: called on another thread when `ready` has something."""
        self._names = names
        self._max_in_step = max_in_step
        self._wake = wake
        self._running: Counter[Adapter] = Counter()
        self._read: queue.SimpleQueue[tuple[Control, Adapter | Exception]] = queue.SimpleQueue()

    @property
    def utilization(self) -> float:
        """Adapters that compute, of those that may at once."""
        return len(self._running) / self._max_in_step

    # ---- requests

    def of(self, name: str) -> Adapter | None:
        """None for the model itself. Raises ModelNotFound."""
        if not name:
            return None
        adapter = None if self._names is None else self._names.get(name)
        if adapter is None:
            raise unknown_adapter(name, self.paths())
        return adapter

    def fits(self, request: Request) -> bool:
        """Whether it may run beside those that do."""
        adapter = request.adapter
        return adapter is None or adapter in self._running or len(self._running) < self._max_in_step

    def enter(self, request: Request) -> None:
        """It runs."""
        if request.adapter is not None:
            self._running[request.adapter] += 1

    def leave(self, request: Request) -> None:
        """It runs no longer."""
        if request.adapter is not None:
            self._running[request.adapter] -= 1
            if not self._running[request.adapter]:
                del self._running[request.adapter]

    def of_step(self, requests: Iterable[Request]) -> tuple[list[Adapter], Int32]:
        """`adapters` and `adapters_B` of the plan of these sequences."""
        if not self._running:
            return [], EMPTY
        places: dict[Adapter, int] = {}
        of_B = [-1 if (a := request.adapter) is None else places.setdefault(a, len(places)) for request in requests]
        return list(places), np.array(of_B, np.int32)

    # ---- commands

    def paths(self) -> dict[str, str]:
        return {} if self._names is None else self._names.paths()

    def load(self, message: Control) -> None:
        """Reads the folder on a thread; the reply is among `ready` then."""
        names, path = self._names, Path(str(message.data["path"]))

        def read() -> None:
            try:
                if names is None:
                    raise RequestError("adapters are not served; start with --enable-lora", param="lora_path")
                self._read.put((message, names.read(path)))
            except Exception as error:
                self._read.put((message, error))
            self._wake()

        threading.Thread(target=read, name="radixlang-adapter", daemon=True).start()

    def ready(self) -> list[Reply]:
        """Answers to what was to be loaded."""
        replies = []
        while not self._read.empty():
            message, found = self._read.get()
            name = str(message.data["name"])
            try:
                if isinstance(found, Exception):
                    raise found
                assert self._names is not None
                self._names.add(name, found)
                logger.info("adapter %s: rank %d, from %s", name, found.rank, found.path)
                replies.append(Reply(message.id, {"success": True, "adapters": self.paths()}))
            except Exception as error:
                replies.append(Reply(message.id, _refusal(error)))
        return replies

    def unload(self, name: str, requests: Iterable[Request]) -> dict[str, Any]:
        """`requests`: all that are not finished."""
        try:
            adapter = self.of(name)
            if self._names is None or adapter is None:
                raise ModelNotFound("an adapter's name is not empty", param="lora_name")
            count = sum(request.adapter is adapter for request in requests)
            if count:
                raise BadAdapter(
                    f"the adapter {name!r} is in use by {count} requests; unload it when they are done",
                    param="lora_name",
                    code="adapter_in_use",
                )
        except RadixlangError as error:
            error.param = "lora_name"
            return _refusal(error)
        self._names.remove(name)
        return {"success": True, "adapters": self.paths()}


def _refusal(error: Exception) -> dict[str, Any]:
    if not isinstance(error, RadixlangError):
        logger.error("an adapter could not be loaded", exc_info=error)
        error = InternalError(f"the adapter could not be loaded: {type(error).__name__}")
    return {"success": False, "error": error.message, "code": error.code, "param": error.param}
