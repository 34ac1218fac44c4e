"""What a prefix cache holds and has done: an immutable snapshot."""

from __future__ import annotations

from typing import NamedTuple


class CacheStats(NamedTuple):
    """In tokens, except `num_nodes`."""

    num_nodes: int
    total_len: int
    evictable_len: int
    """Unlocked, pinned ones included."""
    locked_len: int
    inserted_len: int
    """Ever inserted."""
    evicted_len: int
    """Ever evicted."""
    duplicate_len: int
    """Computed although the tree had them already; freed at once."""
    returned_len: int
    """Evicted once, and computed again for somebody who needed it."""
    used_len: int
    """Found by others than who computed it, each use counted."""
