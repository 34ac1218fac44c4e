"""The files of packed weights in the cache folder: mapped, made whole or not at all, and the least used ones dropped.

A file is named `v{layout}-{key}.packed`; its time of change is its last use. Who maps one holds a shared lock on it,
who writes one an exclusive lock, and only what nobody holds is deleted.
"""

from __future__ import annotations

import fcntl
import logging
import mmap
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

logger = logging.getLogger(__name__)

MAX_BYTES = 32 << 30
"""Of all packed files together, the one just written not counted; RADIXLANG_WEIGHT_CACHE_GB overrules it."""
_PART = ".packing-"
_MADV_POPULATE_READ = 22
"""Linux 5.14; Python has no name for it."""


class NewFile(NamedTuple):
    descriptor: int
    path: Path


def name_of(layout: int, key: str) -> str:
    return f"v{layout}-{key}.packed"


def map_file(path: Path, header: bytes, size: int) -> mmap.mmap | None:
    """The packed file, its pages asked for at once; None when there is none or it is not whole. The mapping holds the
    lock (Python's keeps a copy of the descriptor) until it is closed."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_size != size or os.read(descriptor, len(header)) != header:
            return None
        memory = mmap.mmap(descriptor, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
        _ask_for_pages(memory)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    try:
        os.utime(path)
    except OSError:  # not ours: it is used all the same
        logger.debug("%s keeps its time of last use", path)
    return memory


def _ask_for_pages(memory: mmap.mmap) -> None:
    """Reads the file in at once, in huge pages where the file system has them: one core then reads a tenth faster."""
    for advice in (getattr(mmap, "MADV_HUGEPAGE", None), _MADV_POPULATE_READ if sys.platform == "linux" else None):
        with suppress(OSError):  # advice: an older kernel reads page by page
            if advice is not None:
                memory.madvise(advice)


def new_file(folder: Path, size: int) -> NewFile | None:
    """A locked file of `size` bytes in the folder, its space reserved; None (and a warning) when it cannot be had."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=_PART)
    except OSError as error:
        logger.warning("packed weights are not kept: %s", error)
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)  # a full disk shows here, not as a crash when a page is written
        else:
            os.truncate(descriptor, size)
    except OSError as error:
        logger.warning("packed weights are not kept: %s", error)
        os.close(descriptor)
        Path(name).unlink(missing_ok=True)
        return None
    return NewFile(descriptor, Path(name))


def finish(file: NewFile, path: Path) -> None:
    """Gives the written file its name, and lets others map it. Nothing may map it any more: what was written page by
    page leaves the system's cache, to be read back in huge pages."""
    os.fsync(file.descriptor)
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file.descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    fcntl.flock(file.descriptor, fcntl.LOCK_SH)
    os.replace(file.path, path)


def prune(folder: Path, layout: int, *, keep: Path) -> None:
    """Deletes what other layouts left and what killed processes did not finish, then the files whose last use is the
    longest ago until the rest fits MAX_BYTES. Never `keep`, and never what somebody maps or writes."""
    allowed = _allowed_bytes()
    kept: list[tuple[float, int, Path]] = []
    for path in folder.iterdir():
        if path == keep or not (path.suffix == ".packed" or path.name.startswith(_PART)):
            continue
        if not path.name.startswith(f"v{layout}-"):
            _delete(path, "unfinished" if path.name.startswith(_PART) else "of another layout")
            continue
        try:
            stat = path.stat()
        except OSError:  # another process was faster
            continue
        kept.append((stat.st_mtime, stat.st_size, path))
    total = sum(size for _, size, _ in kept)
    for _, size, path in sorted(kept):
        if total <= allowed:
            break
        if _delete(path, "used the longest ago"):
            total -= size


def _allowed_bytes() -> int:
    given = os.environ.get("RADIXLANG_WEIGHT_CACHE_GB")
    if given is None:
        return MAX_BYTES
    try:
        return int(float(given) * (1 << 30))
    except (ValueError, OverflowError):
        logger.warning("RADIXLANG_WEIGHT_CACHE_GB=%s is no number; %d are allowed", given, MAX_BYTES >> 30)
        return MAX_BYTES


def _delete(path: Path, why: str) -> bool:
    """False for a file that is in use or not ours."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
    except OSError:
        return False
    finally:
        os.close(descriptor)
    logger.info("deleted packed weights %s: %s", path.name, why)
    return True
