"""Prefix hints: how many calls will ask for the text of a fork again, and which of them at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..graph import ASKING, Node, ProgramGraph
from .rebuild import streams


def hint_forks(graph: ProgramGraph) -> ProgramGraph:
    """Each fork is told how many of its branches ask for anything (`asking`), and the places of those that do so
    before they wait for a value (`ready`).

    A run computes a fork's text ahead, once, where two or more will ask for it: with fewer, the one call computes it
    itself. The first calls of the ready ones go to the engine together.
    """
    parents = {stream: node.stream for node in graph.nodes if node.kind == "fork" for stream in node.params["streams"]}
    parents |= {s: node.stream for node in graph.nodes if node.kind == "switch" for s in node.params["streams"]}
    asking: set[int] = set()
    for node in graph.nodes:
        stream = node.stream
        if node.kind in ASKING:
            while stream not in asking:
                asking.add(stream)
                if stream not in parents:
                    break
                stream = parents[stream]
    ready = _ready(graph)
    result = replace(graph, nodes=[])
    for node in graph.nodes:
        if node.kind == "fork":
            begun = node.params["streams"]
            hints: dict[str, Any] = {"asking": len(asking & set(begun))}
            hints["ready"] = [place for place, stream in enumerate(begun) if stream in ready]
            node = replace(node, params={**node.params, **hints})
        result.nodes.append(node)
    return result


def _ready(graph: ProgramGraph) -> set[int]:
    """Streams whose first call is a gen that needs nothing but arguments."""
    waits: set[int] = set()
    for node in graph.nodes:
        if node.kind in ("gen", "select", "scope_end", "tool", "call") or waits.intersection(node.data):
            waits.add(node.id)
    return {stream for stream, nodes in streams(graph).items() if _asks_at_once(nodes, waits)}


def _asks_at_once(nodes: list[Node], waits: set[int]) -> bool:
    for node in nodes:
        if node.kind in ("gen", "select", "fork", "switch", "image", "tool", "call"):
            return node.kind == "gen"
        if node.kind == "var" and waits.intersection(node.data):
            return False
    return False
