"""Prefix hints: how many calls will ask for the text of a fork again."""

from __future__ import annotations

from dataclasses import replace

from ..graph import ASKING, ProgramGraph


def hint_forks(graph: ProgramGraph) -> ProgramGraph:
    """Each fork is told the number of its branches that ask for anything (`asking`).

    A run computes a fork's text ahead, once, where two or more will: with fewer, the one call computes it itself.
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
    result = replace(graph, nodes=[])
    for node in graph.nodes:
        if node.kind == "fork":
            node = replace(node, params={**node.params, "asking": len(asking & set(node.params["streams"]))})
        result.nodes.append(node)
    return result
