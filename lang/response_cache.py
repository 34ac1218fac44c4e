"""Answers kept on disk: the same question to the same model is asked once."""

from __future__ import annotations

import json
import os
import tempfile
from typing import Any

from .backend.base_backend import BaseBackend, NativeBackend
from .call_key import digest_of


class ResponseCache:
    """One JSON file an answer, under `directory`. Sampled answers are kept, too: the same call gives the same text.

    Safe to share between threads and processes: files appear whole.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = os.fspath(directory)
        os.makedirs(self.directory, exist_ok=True)
        self.num_hits = 0
        self.num_misses = 0

    def _path(self, model: str, key: dict[str, Any]) -> str:
        return os.path.join(self.directory, digest_of({"model": model, **key}) + ".json")

    def get(self, model: str, key: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
        """(value, meta) of an earlier call; None if there was none. A file that cannot be read counts as none."""
        try:
            with open(self._path(model, key), encoding="utf-8") as file:
                entry = json.load(file)
            found = entry["value"], {**entry["meta"], "from_cache": True}
        except (OSError, ValueError, KeyError, TypeError):
            self.num_misses += 1
            return None
        self.num_hits += 1
        return found

    def put(self, model: str, key: dict[str, Any], value: Any, meta: dict[str, Any]) -> None:
        """Keeps an answer; readers see all of it or nothing."""
        handle, partial = tempfile.mkstemp(dir=self.directory, suffix=".part")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"prompt": key["prompt"], "value": value, "meta": meta}, file, ensure_ascii=False)
        os.replace(partial, self._path(model, key))


async def model_name_of(backend: BaseBackend) -> str:
    """What tells one model's answers from another's."""
    if isinstance(backend, NativeBackend):
        try:
            return str((await backend.native_model_info())["model_path"])
        except (NotImplementedError, KeyError):
            return type(backend).__name__
    try:
        return backend.get_model_name()
    except NotImplementedError:
        return type(backend).__name__
