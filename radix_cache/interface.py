"""PrefixCache: what the scheduler sees of a cache of computed prefixes. No internals cross this seam.

A *handle* is a node that its holder has locked: the path to it cannot be evicted. A request holds one handle, moves it
forward as its prompt is computed, and unlocks it at its end.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from .hold import Hold
from .node import Int32, Node
from .slot_pool import SlotPool
from .stats import CacheStats


class Match(NamedTuple):
    """The longest known prefix ends in `node` (perhaps inside it) after `length` tokens. Nothing is locked."""

    node: Node
    length: int


class PrefixCache(Protocol):
    """Lengths are in tokens and multiples of `page_size`."""

    page_size: int
    pool: SlotPool
    evictable_len: int
    """Tokens that evict() can free."""
    total_len: int
    """Tokens that it holds."""
    woken: list[Any]
    """Waiters whose path grew since somebody last emptied the list."""

    def match(self, ids: Int32, *, end: int, namespace: str = "", step: int = 0) -> Match:
        """The longest prefix of ids[:end] that is computed in `step` or before."""
        ...

    def extend(self, handle: Node, ids: Int32, *, end: int, step: int = 0) -> Match:
        """The same, from a handle on whose path ids[: handle.end] already is."""
        ...

    def clip(self, match: Match, length: int) -> Match:
        """The part of a match that lies within its first `length` tokens, in whole pages."""
        ...

    def lock(self, match: Match, *, own: int = 0) -> Node:
        """A handle on exactly the match (a node is split where it ends inside one).

        Counts as a use of the path beyond its first `own` tokens, which the same program computed.
        """
        ...

    def move(self, handle: Node, match: Match) -> Node:
        """A handle moved down its path to `match`."""
        ...

    def unlock(self, handle: Node) -> None: ...

    def write_slots(self, handle: Node, row: Int32, *, start: int) -> None:
        """row[start : handle.end] = the slots of the path."""
        ...

    def publish(self, handle: Node, ids: Int32, slots: Int32, *, step: int) -> Node | None:
        """Shares what `step` is about to compute: `ids` follow the handle, `slots` will hold them (whole pages).

        The moved handle; None, and nothing changed, where others already share some of it or nothing is shared at all:
        then the slots stay the caller's own.
        """
        ...

    def insert(self, handle: Node, ids: Int32, slots: Int32, *, fence: int | None = None) -> Node:
        """Gives computed tokens to the cache: `ids` follow the handle. Slots that it need not keep are freed.

        The node where the path ends, not locked; earlier, where a step that is not committed computes the rest too.
        """
        ...

    def grow(self, handle: Node, ids: Int32, slots: Int32, *, fence: int | None = None) -> Node | None:
        """`insert` by who goes on from there: the moved handle, whose slots `write_slots` tells.

        None, and nothing changed, where a step that is not committed computes some of it too.
        """
        ...

    def commit(self, step: int) -> None:
        """What was published for `step` is computed."""
        ...

    def discard(self, step: int) -> None:
        """`step` failed: forgets what was published for it. Its handles are unlocked by now."""
        ...

    def evict(self, num_tokens: int) -> int:
        """Frees at least `num_tokens`, or all that is unlocked. Returns the tokens freed."""
        ...

    def pin(self, node: Node) -> None:
        """The path to `node` is evicted only when nothing else is left."""
        ...

    def unpin(self, node: Node) -> None: ...

    def lease(self, match: Match, steps: int = 0) -> Hold:
        """A live program will go on from where the match ends, or begin anew from there; after `steps` of its calls,
        that one counted, where somebody knows.
        """
        ...

    def resume(self, hold: Hold) -> None:
        """It does so now."""
        ...

    def follow(self, hold: Hold, match: Match) -> None:
        """The held path grew or shrank: the hold is where the match ends now."""
        ...

    def unlease(self, hold: Hold, *, is_over: bool = True) -> None:
        """It will not, or not again; not is_over: it is about to."""
        ...

    def wait(self, match: Match, ids: Int32, waiter: Any, *, is_now: bool = True) -> dict[Any, bool] | None:
        """`waiter` comes into `woken` when the path of `ids` grows beyond the match, or shrinks.

        Where it waits: it may take itself out of there. None: its path cannot grow. is_now: it is about to go on from
        there; who only watches is told of a whole path, too, when that shrinks.
        """
        ...

    def flush(self) -> None:
        """Forgets everything that is not locked."""
        ...

    def stats(self) -> CacheStats: ...

    def check(self) -> list[Int32]:
        """Asserts every invariant; the slots of each node."""
        ...
