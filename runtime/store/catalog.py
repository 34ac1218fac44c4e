"""Which models this machine has: list, show and remove."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import ModelNotFound, RadixlangError
from .files import folder_of, is_name, locked, recorded_digest
from .known import KNOWN_MODELS
from .paths import models_dir
from .resolve import model_inside


class StoredModel(NamedTuple):
    """One folder of the store."""

    name: str
    path: Path
    """What `open_checkpoint` takes."""
    size: int
    """Bytes of all its files."""
    modified: float
    """Seconds since the epoch."""
    sha256: str | None
    """Of a single file that was verified when it was fetched."""


def list_models() -> list[StoredModel]:
    """By name; folders without a model in them are left out."""
    store = models_dir()
    found = []
    for folder in sorted(store.iterdir()) if store.is_dir() else []:
        if folder.is_dir() and is_name(folder.name):
            try:
                found.append(_stored(folder))
            except RadixlangError:
                continue  # not (or not yet) a model: another process may be fetching it
    return found


def show_model(name: str) -> dict[str, Any]:
    """What is known of a stored model, its header included. Raises ModelNotFound; BadCheckpoint for a damaged one."""
    from ..weights.open import open_checkpoint

    folder = folder_of(name)
    if not folder.is_dir():
        raise _unknown(name)
    stored = _stored(folder)
    checkpoint = open_checkpoint(stored.path)
    config = checkpoint.config
    formats = checkpoint.formats()
    checkpoint.close()
    known = KNOWN_MODELS.get(name)
    return {
        "name": name, "path": str(stored.path), "size": stored.size, "modified": stored.modified,
        "sha256": stored.sha256, "about": known.about if known else config.name, "architecture": config.architecture,
        "layers": config.num_layers, "hidden_size": config.hidden_size, "vocab_size": config.vocab_size,
        "max_context": config.max_context, "formats": formats,
    }  # fmt: skip


def remove_model(name: str) -> int:
    """Bytes that were freed. Raises ModelNotFound. A server that has the model mapped keeps running."""
    folder = folder_of(name)
    if not folder.is_dir():
        raise _unknown(name)
    with locked(folder, wait_s=5.0):
        size = _size(folder)
        shutil.rmtree(folder)
    return size


def _stored(folder: Path) -> StoredModel:
    path = model_inside(folder)
    return StoredModel(
        folder.name, path, _size(folder), path.stat().st_mtime, recorded_digest(path) if path.is_file() else None
    )


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _unknown(name: str) -> ModelNotFound:
    stored = ", ".join(model.name for model in list_models()) or "none"
    return ModelNotFound(f"no model {name!r} in {models_dir()}; stored: {stored}", param="model")
