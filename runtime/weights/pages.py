"""Opening of model files, and reading them without keeping them in memory."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from types import TracebackType

from ...errors import BadCheckpoint

_SAMPLE = 64


class SampledFile:
    """A file of which a few bytes are read. Mapped, each of them would bring the 64 KiB around it into this process."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)

    def samples(self, start: int, nbytes: int) -> bytes:
        """The first, middle and last bytes of a tensor."""
        places = (start, start + nbytes // 2, start + max(0, nbytes - _SAMPLE))
        return b"".join(os.pread(self._descriptor, min(_SAMPLE, start + nbytes - place), place) for place in places)

    def __enter__(self) -> SampledFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)


def unreadable(path: Path, error: Exception) -> BadCheckpoint:
    """What to raise for a file of a model that the system does not let us read."""
    remedy = "allow this user to read it" if isinstance(error, PermissionError) else "download the model again"
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return BadCheckpoint(f"{path}: cannot be read ({reason}); {remedy}")


def map_file(path: Path) -> mmap.mmap:
    """The whole file, mapped to be read. Raises BadCheckpoint."""
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
        raise unreadable(path, error) from None


def forget_pages(memory: mmap.mmap) -> None:
    """Takes the pages of a mapped file out of this process; they are read again, from the system's cache, if needed."""
    if hasattr(mmap, "MADV_DONTNEED"):
        memory.madvise(mmap.MADV_DONTNEED)
