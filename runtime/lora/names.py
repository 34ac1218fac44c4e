"""Adapters under the names that requests call them by; who may compute with whom is the scheduler's (its adapters.py).

KV that was computed with an adapter is worth nothing to anybody else, so each has prefixes of its own: `namespace_of`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from ...errors import BadAdapter, ConfigError, ModelNotFound, RadixlangError
from ..weights.checkpoint import Checkpoint

if TYPE_CHECKING:
    from .adapter import Adapter

LEAST_MAX_RANK = 16
"""--max-lora-rank when it is not given and no adapter of the start is larger."""
_MAX_NAME = 256


class SlotSize(NamedTuple):
    """What an executor keeps room for."""

    num_slots: int
    """Adapters of one step."""
    max_rank: int


class _Listed(msgspec.Struct):
    """SGLang's JSON spelling of an entry of --lora-paths."""

    lora_name: str
    lora_path: str


def parse_paths(entries: Iterable[str]) -> dict[str, Path]:
    """--lora-paths: name=path, path (which is then the name), or SGLang's JSON. Raises ConfigError."""
    found: dict[str, Path] = {}
    for entry in entries:
        if entry.startswith("{"):
            try:
                listed = msgspec.json.decode(entry, type=_Listed)
            except msgspec.MsgspecError as error:
                raise ConfigError(f"--lora-paths: {entry[:80]!r}: {error}", param="lora_paths") from None
            name, path = listed.lora_name, listed.lora_path
        else:
            name, mark, path = entry.partition("=")
            path = path if mark else name
        try:
            check_name(name)
        except BadAdapter as error:
            raise ConfigError(f"--lora-paths: {error.message}", param="lora_paths") from None
        if not path:
            raise ConfigError(f"--lora-paths: {entry[:80]!r} names no folder; write name=path", param="lora_paths")
        if name in found:
            raise ConfigError(f"--lora-paths names {name!r} twice", param="lora_paths")
        found[name] = Path(path)
    return found


def check_name(name: str) -> None:
    """Raises BadAdapter for what cannot be the name of an adapter."""
    if not name or len(name) > _MAX_NAME or not name.isprintable():
        raise BadAdapter(
            f"an adapter's name has 1 to {_MAX_NAME} printable characters, found {name[:80]!r}", param="lora_name"
        )


def unknown_adapter(name: str, known: Iterable[str]) -> ModelNotFound:
    """The error for a request that names an adapter that is not loaded."""
    first = ", ".join([*known][:8])
    return ModelNotFound(
        f"no adapter {name[:80]!r} is loaded{f' (there is {first})' if first else ''}; load it with --lora-paths or "
        "POST /load_lora_adapter",
        param="lora_path",
    )


def namespace_of(salt: str, adapter: Adapter | None) -> str:
    """Where a request's prefixes are shared; `salt`: what the request itself asks for."""
    if adapter is not None:
        return f"lora:{adapter.digest}:{salt}"
    return f"lora:-:{salt}" if salt.startswith("lora:") else salt


class AdapterNames:
    """The adapters of one engine."""

    def __init__(self, checkpoint: Checkpoint, *, max_rank: int) -> None:
        """max_rank: 0: the largest of those that are loaded first, at least LEAST_MAX_RANK."""
        from .adapter import linears_of  # here and below: it needs numpy, which a server's process does without

        self._linears = linears_of(checkpoint)
        self._named: dict[str, Adapter] = {}
        self.max_rank = max_rank

    def read(self, path: Path) -> Adapter:
        """Raises what `read_adapter` raises, and BadAdapter for too large a rank. May be called on any thread."""
        from .adapter import read_adapter

        adapter = read_adapter(path, self._linears)
        if self.max_rank and adapter.rank > self.max_rank:
            raise BadAdapter(
                f"{path}: its rank {adapter.rank} is above --max-lora-rank {self.max_rank}; start the server with "
                f"--max-lora-rank {adapter.rank}",
                param="lora_path",
            )
        return adapter

    def start(self, entries: Iterable[str]) -> None:
        """Loads --lora-paths; from then on `max_rank` stands. Raises ConfigError naming the adapter."""
        for name, path in parse_paths(entries).items():
            try:
                self.add(name, self.read(path))
            except RadixlangError as error:
                raise ConfigError(f"--lora-paths {name}: {error.message}", param="lora_paths") from None
        self.max_rank = self.max_rank or max([LEAST_MAX_RANK, *(a.rank for a in self._named.values())])

    def add(self, name: str, adapter: Adapter) -> None:
        """Raises BadAdapter for a name that is taken or none."""
        check_name(name)
        if name in self._named:
            raise BadAdapter(
                f"an adapter {name!r} is loaded already, from {self._named[name].path}; unload it first",
                param="lora_name",
            )
        self._named[name] = adapter

    def get(self, name: str) -> Adapter | None:
        return self._named.get(name)

    def remove(self, name: str) -> None:
        del self._named[name]

    def paths(self) -> dict[str, str]:
        """Name to folder, in the order of loading."""
        return {name: str(adapter.path) for name, adapter in self._named.items()}
