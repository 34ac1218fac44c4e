"""Constant folding: what a program says in pieces becomes one text."""

from __future__ import annotations

from dataclasses import replace

from ..graph import Node, ProgramGraph
from .rebuild import rebuild


def fold_text(graph: ProgramGraph) -> ProgramGraph:
    """Merges texts that follow each other on one stream, and drops empty ones."""
    kept: dict[int, Node] = {}
    moved: dict[int, int] = {}
    followed = _links(graph)
    for node in graph.nodes:
        if node.kind == "text":
            before = _last(node, kept, moved)
            is_joined = before is not None and before.kind == "text" and before.stream == node.stream
            if is_joined and before is not None and followed[before.id] <= 1:
                kept[before.id] = replace(before, params={"text": before.params["text"] + node.params["text"]})
                moved[node.id] = before.id
                followed[before.id] += followed[node.id] - 1
                continue
        kept[node.id] = node
    return rebuild(graph, kept.values(), moved)


def _last(node: Node, kept: dict[int, Node], moved: dict[int, int]) -> Node | None:
    if node.after is None:
        return None
    return kept[moved.get(node.after, node.after)]


def _links(graph: ProgramGraph) -> dict[int, int]:
    """How many nodes are linked to each, in text order or by value."""
    count = dict.fromkeys(range(len(graph.nodes)), 0)
    for node in graph.nodes:
        if node.after is not None:
            count[node.after] += 1
        if node.kind != "join":  # waits for the end of a stream, whatever stands there
            for source in node.data:
                count[source] += 1
    return count
