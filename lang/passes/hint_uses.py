"""Next-use hints: how many calls of the program come before a stream's kept path is gone on from."""

from __future__ import annotations

from dataclasses import replace

from ..graph import Node, ProgramGraph, is_call


def hint_uses(graph: ProgramGraph) -> ProgramGraph:
    """Marks (`next_use`) each gen from which something goes on: calls in a row until then, that one counted.

    1: the next call. More, where what goes on waits for other streams first (a parent for the answers of its branches).
    A full cache keeps what is needed sooner (arXiv 2507.07400).
    """
    depths = graph.depths()
    nearest: dict[int, int] = {}
    """By the id of a node: the least depth of the calls that go on from it."""
    for node in reversed(graph.nodes):
        if node.after is not None:
            reached = depths[node.id] if is_call(node) else nearest.get(node.id)
            if reached is not None:
                nearest[node.after] = min(reached, nearest.get(node.after, reached))
    return replace(graph, nodes=[_hinted(node, depths[node.id], nearest.get(node.id)) for node in graph.nodes])


def _hinted(node: Node, depth: int, nearest: int | None) -> Node:
    if node.kind != "gen" or nearest is None:
        return node
    return replace(node, params={**node.params, "next_use": max(1, nearest - depth)})
