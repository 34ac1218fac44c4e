"""The ids of texts that were tokenized lately: a program's literals come again with each of its calls.

Bounded in bytes, so that a server whose prompts are all different stays as large as it was.
"""

from __future__ import annotations

import sys
import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable

MAX_BYTES = 4 << 20
_OVERHEAD = 256  # of an entry: key, array and their place


class SpanCache:
    """Calls `encode` for what it does not remember. Used longest ago, first forgotten. Thread-safe."""

    def __init__(self, encode: Callable[[str, bool, bool], list[int]], max_bytes: int = MAX_BYTES) -> None:
        """encode: of a text, whether it begins a prompt, and whether BOS stands before it then."""
        self._encode = encode
        self._max_bytes = max_bytes
        self._entries: OrderedDict[tuple[str, bool, bool], array[int]] = OrderedDict()
        self._lock = threading.Lock()
        self.num_bytes = 0

    def __call__(self, text: str, first: bool, add_bos: bool) -> list[int]:
        """The caller's own list. Raises what `encode` raises."""
        key = text, first, add_bos
        with self._lock:
            known = self._entries.get(key)
            if known is not None:
                self._entries.move_to_end(key)
                return known.tolist()
        ids = self._encode(text, first, add_bos)
        kept = array("i", ids)
        with self._lock:
            if key not in self._entries:  # another thread may have been as fast
                self._entries[key] = kept
                self.num_bytes += _size(text, kept)
            while self.num_bytes > self._max_bytes:
                (old, _, _), forgotten = self._entries.popitem(last=False)
                self.num_bytes -= _size(old, forgotten)
        return ids


def _size(text: str, ids: array[int]) -> int:
    return _OVERHEAD + sys.getsizeof(text) + ids.itemsize * len(ids)
