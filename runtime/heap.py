"""Memory that was needed once, at the start: given back to the system."""

from __future__ import annotations

import ctypes
import sys


def give_back_freed() -> None:
    """Takes the freed parts of the heap out of this process; glibc keeps them otherwise. Elsewhere it does nothing."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
