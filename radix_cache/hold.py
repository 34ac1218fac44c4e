"""A live program's claim on a path of the tree: it will go on from there, or begin anew."""

from __future__ import annotations

from .node import Node


class Hold:
    """`steps`: calls of the program until then, as its graph says (1: the next one); 0: nobody knows."""

    __slots__ = ("due", "is_open", "node", "since", "steps")

    def __init__(self, node: Node, steps: int, since: int) -> None:
        self.node = node
        self.steps = steps
        self.since = since
        """The tick at which it began."""
        self.due: float | None = None
        """The tick at which the program is expected; the node lists it among its dues."""
        self.is_open = True
        """The program has not come back yet."""
