"""Where radixlang keeps what it fetched and what it derived."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """RADIXLANG_CACHE, else ~/.cache/radixlang (XDG_CACHE_HOME is honoured). Not created here."""
    given = os.environ.get("RADIXLANG_CACHE")
    if given:
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "radixlang"


def models_dir() -> Path:
    """RADIXLANG_MODELS, else `models` in the cache folder: one folder a model."""
    given = os.environ.get("RADIXLANG_MODELS")
    return Path(given).expanduser() if given else cache_dir() / "models"


def write_atomically(path: Path, content: bytes) -> None:
    """Writes beside `path` and renames: a reader sees the old file or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
