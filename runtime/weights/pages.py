"""Reading of model files without keeping them in memory."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from types import TracebackType

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


def forget_pages(memory: mmap.mmap) -> None:
    """Takes the pages of a mapped file out of this process; they are read again, from the system's cache, if needed."""
    if hasattr(mmap, "MADV_DONTNEED"):
        memory.madvise(mmap.MADV_DONTNEED)
