"""What followed a path of the tree before: the ids that lie below a place in it. Reads the tree, changes nothing."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .node import Int32, Node


class Place(NamedTuple):
    """`length` tokens into the tree, inside `node` or at its end."""

    node: Node
    length: int


def advance(place: Place, ids: Int32, known: int, page_size: int) -> Place | None:
    """The place of ids[:known], of which `place` has the first; None where the tree does not know them.

    A place may be old: its node may have been split since, or evicted (then None).
    """
    node, length = place
    if (node.parent is None and node.end) or length > node.end:
        return None
    while length < node.start:  # split: the node is the lower part now
        assert node.parent is not None
        node = node.parent
    while True:
        at = length - node.start
        count = min(node.key.size - at, known - length)
        if count == 1:
            if node.key[at] != ids[length]:
                return None
        elif count and not np.array_equal(node.key[at : at + count], ids[length : length + count]):
            return None
        length += count
        if length == known:
            return Place(node, length)
        child = _child(node, ids, length, known, page_size)
        if child is None:
            return None
        node = child


def following(place: Place, num_tokens: int) -> Int32:
    """Up to `num_tokens` ids from `place` on; where paths part, the one that was used last."""
    node, length = place
    parts = [node.key[length - node.start :][:num_tokens]]
    found = parts[0].size
    while found < num_tokens and node.children:
        node = _latest(node)
        parts.append(node.key[: num_tokens - found])
        found += parts[-1].size
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _child(node: Node, ids: Int32, length: int, known: int, page_size: int) -> Node | None:
    if page_size == 1:
        return node.children.get(int(ids[length]))
    if known - length >= page_size:
        return node.children.get(ids[length : length + page_size].tobytes())
    begun = ids[length:known]
    fitting = [child for child in node.children.values() if np.array_equal(child.key[: begun.size], begun)]
    return max(fitting, key=lambda child: child.last_use, default=None)


def _latest(node: Node) -> Node:
    children = node.children.values()
    return next(iter(children)) if len(children) == 1 else max(children, key=lambda child: (child.last_use, child.id))
