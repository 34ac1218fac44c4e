"""A graph without some of its nodes: the others are numbered anew, and links to what is gone go to what replaces it."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ..graph import Node, ProgramGraph


def rebuild(graph: ProgramGraph, nodes: Iterable[Node], moved: Mapping[int, int] | None = None) -> ProgramGraph:
    """`graph` with `nodes` in their order, which still have their old ids.

    moved: an old id to the old id that stands in its place; a dropped node that is in no link needs none. `data` that
    points at a dropped node is left out where the node is a join, which only waits for it.
    """
    kept = list(nodes)
    moved = moved or {}
    ids = {node.id: i for i, node in enumerate(kept)}

    def at(old: int) -> int | None:
        seen = 0
        while old not in ids and old in moved and seen <= len(moved):
            old, seen = moved[old], seen + 1
        return ids.get(old)

    result = replace(graph, inputs=list(graph.inputs), outputs=list(graph.outputs), nodes=[])
    for node in kept:
        after = None if node.after is None else at(node.after)
        data = [at(i) for i in node.data]
        assert node.kind == "join" or None not in data, f"node {node.id} uses one that was dropped"
        result.nodes.append(replace(node, id=ids[node.id], after=after, data=tuple(i for i in data if i is not None)))
    return result


def in_order(nodes: Sequence[Node]) -> list[Node]:
    """The nodes so that each comes behind what it is linked to, and otherwise as they were."""
    places = {node.id: i for i, node in enumerate(nodes)}
    waiting: dict[int, int] = {}
    followers: dict[int, list[int]] = {}
    for i, node in enumerate(nodes):
        links = {places[link] for link in (*node.data, *([] if node.after is None else [node.after])) if link in places}
        waiting[i] = len(links)
        for link in links:
            followers.setdefault(link, []).append(i)
    ready = [i for i, count in waiting.items() if count == 0]
    result: list[Node] = []
    while ready:
        i = heapq.heappop(ready)
        result.append(nodes[i])
        for follower in followers.get(i, ()):
            waiting[follower] -= 1
            if waiting[follower] == 0:
                heapq.heappush(ready, follower)
    assert len(result) == len(nodes), "the graph has a cycle"
    return result


def streams(graph: ProgramGraph) -> dict[int, list[Node]]:
    """The nodes of each stream, in order; arguments and ops are on none."""
    found: dict[int, list[Node]] = {}
    for node in graph.nodes:
        if node.stream >= 0:
            found.setdefault(node.stream, []).append(node)
    return found
