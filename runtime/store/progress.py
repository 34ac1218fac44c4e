"""How far a download is: a bar on a terminal, one line elsewhere; always on stderr."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any


class Progress:
    """`total`: bytes that are expected, roughly."""

    def __init__(self, what: str, total: int, *, shown: bool = True) -> None:
        self.what = what
        self.total = total
        self._bar: Any = None
        if not shown:
            return
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, desc=what, unit="B", unit_scale=True, unit_divisor=1024, file=sys.stderr)
        else:
            sys.stderr.write(f"{what}: {total / 2**20:.0f} MiB\n")
            sys.stderr.flush()

    def reach(self, size: int) -> None:
        """`size` bytes are here now."""
        if self._bar is not None and size > self._bar.n:
            self._bar.update(min(size, self.total) - self._bar.n)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            if error is None:
                self.reach(self.total)
            self._bar.close()
