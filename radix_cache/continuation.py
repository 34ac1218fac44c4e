"""What followed a path of the tree before: the ids that lie below a place in it. Reads the tree, changes nothing."""

from __future__ import annotations

import heapq
import itertools
from typing import NamedTuple

import numpy as np

from .node import Int32, Node

_TURN = 4
"""Tokens along the way that was used last which are worth one of the next way."""


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


def ways(place: Place, depth: int, num_tokens: int) -> tuple[Int32, Int32 | None]:
    """Up to `num_tokens` ids from `place` on, at most `depth` deep, and the place of each one's parent among them (-1:
    `place` itself), which stands before it; None where paths do not part: then they are `following`.

    Those that were used last come first, and the near ones: a token costs what the tokens to it do, and _TURN for each
    path that was used later than one on the way to it. For pages of one token.
    """
    if not _parts(place, depth):
        return following(place, depth), None
    ids, parents = list[int](), list[int]()
    counter = itertools.count()
    todo: list[tuple[int, int, Node, int, int, int]] = []

    def see(cost: int, node: Node, at: int, deep: int, parent: int) -> None:
        """The token behind key[: at] of the node."""
        if deep == depth:
            return
        if at < node.key.size:
            heapq.heappush(todo, (cost, next(counter), node, at, deep, parent))
            return
        children = sorted(node.children.values(), key=lambda child: (-child.last_use, -child.id))
        for rank, child in enumerate(children[: num_tokens - len(ids)]):
            heapq.heappush(todo, (cost + _TURN * rank, next(counter), child, 0, deep, parent))

    see(0, place.node, place.length - place.node.start, 0, -1)
    while todo and len(ids) < num_tokens:
        cost, _, node, at, deep, parent = heapq.heappop(todo)
        ids.append(int(node.key[at]))
        parents.append(parent)
        see(cost + 1, node, at + 1, deep + 1, len(ids) - 1)
    return np.array(ids, np.int32), np.array(parents, np.int32)


def _parts(place: Place, depth: int) -> bool:
    """Whether paths part within `depth` tokens."""
    node, left = place.node, depth - (place.node.end - place.length)
    while left > 0 and len(node.children) == 1:
        node = next(iter(node.children.values()))
        left -= node.key.size
    return left > 0 and len(node.children) > 1


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
