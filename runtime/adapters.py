"""The adapters of a front's engine: their names, loading and unloading, and loading them again after a restart."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from ..errors import ModelNotFound, RadixlangError, RequestError
from .lora.names import unknown_adapter

if TYPE_CHECKING:
    from .front import Front

logger = logging.getLogger(__name__)

_LOAD_TIMEOUT_S = 600.0
"""A large adapter on a slow disk."""


class FrontAdapters:
    """Of one front, on its event loop."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._paths: dict[str, str] = dict(front.info.get("adapters") or {})
        self._restoring: asyncio.Task[None] | None = None

    @property
    def paths(self) -> dict[str, str]:
        """Name to folder, in the order of loading."""
        return self._paths

    async def check(self, name: str) -> None:
        """Raises ModelNotFound for a name that is not loaded; waits while a new engine loads those of the old one."""
        if name and self._restoring is not None:
            await asyncio.shield(self._restoring)
        if name and name not in self._paths:
            raise unknown_adapter(name, self._paths)

    async def load(self, name: str, path: str) -> None:
        """Returns when requests may name it. Raises BadAdapter and the like as RequestError, 400."""
        self._paths = _paths_of(
            await self._front.control("load_adapter", {"name": name, "path": path}, _LOAD_TIMEOUT_S)
        )

    async def unload(self, name: str) -> None:
        """Raises RequestError for an unknown one and for one that requests use."""
        self._paths = _paths_of(await self._front.control("unload_adapter", {"name": name}))

    def follow(self, info: dict[str, Any]) -> None:
        """A new engine serves, with these facts: it gets the adapters that the old one had."""
        found = dict(info.get("adapters") or {})
        if found != self._paths:
            self._restoring = asyncio.get_running_loop().create_task(self._restore(found))

    async def _restore(self, found: dict[str, str]) -> None:
        wanted = self._paths
        try:
            for name in [name for name, path in found.items() if wanted.get(name) != path]:
                await self.unload(name)
            for name in [name for name, path in wanted.items() if found.get(name) != path]:
                try:
                    await self.load(name, wanted[name])
                except RequestError as error:
                    logger.error("adapter %s is gone after the restart: %s", name, error)
                    self._paths = {other: path for other, path in self._paths.items() if other != name}
        except (RadixlangError, asyncio.TimeoutError) as error:  # that engine died too
            logger.warning("the adapters were not loaded again: %s", error)
            self._paths = wanted
        finally:
            self._restoring = None


def _paths_of(answer: dict[str, Any]) -> dict[str, str]:
    if answer.get("success"):
        return dict(answer["adapters"])
    kind = ModelNotFound if answer.get("code") == ModelNotFound.code else RequestError
    error = kind(str(answer.get("error")), param=answer.get("param"), code=answer.get("code"))
    error.status = 400  # as SGLang answers
    raise error
