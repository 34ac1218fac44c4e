"""Files of the store: locked while they are made, verified once, then known by a small mark beside them."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import ModelError, ModelNotFound
from .paths import models_dir, write_atomically

logger = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_CHUNK = 1 << 20


def is_name(text: str) -> bool:
    """Whether this can be a model's name in the store: no path, nothing hidden."""
    return _NAME.fullmatch(text) is not None and ".." not in text


def folder_of(name: str) -> Path:
    """The folder of a name, inside the store whatever the name. Raises ModelNotFound for what is no name."""
    store = models_dir()
    folder = store / name
    if not is_name(name) or store.resolve() not in folder.resolve().parents:
        raise ModelNotFound(f"{name[:200]!r} is not a model's name", param="model")
    return folder


def _mark(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def digest_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def record_verified(path: Path, sha256: str) -> None:
    """Writes the mark, in the format of sha256sum."""
    try:
        write_atomically(_mark(path), f"{sha256}  {path.name}\n".encode())
    except OSError as error:
        logger.warning("%s cannot be marked as verified (%s); it is hashed at every start", path, error)


def recorded_digest(path: Path) -> str | None:
    """What the mark says, if it is younger than the file."""
    try:
        if _mark(path).stat().st_mtime_ns < path.stat().st_mtime_ns:
            return None
        return _mark(path).read_text().split()[0]
    except (OSError, IndexError, UnicodeDecodeError):
        return None


def is_verified(path: Path, size: int, sha256: str) -> bool:
    """Whether the file is there and the right one: by its size and mark, hashed only where the mark is missing."""
    try:
        if path.stat().st_size != size:
            return False
    except OSError:
        return False
    recorded = recorded_digest(path)
    if recorded is None:
        recorded = digest_of(path)
        if recorded == sha256:
            record_verified(path, sha256)
    return recorded == sha256


@contextmanager
def locked(folder: Path, wait_s: float = 3600.0) -> Iterator[None]:
    """One process at a time in `folder`, which is made. The lock ends with the process, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as file:
        deadline = time.monotonic() + wait_s
        told = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ModelError(
                        f"another process has held {folder} for {wait_s:.0f} s; end it and try again"
                    ) from None
                if not told:
                    logger.info("waiting for another process that fetches into %s", folder)
                    told = True
                time.sleep(0.2)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
