"""Release hints: the last call of a stream need not stay in the cache for a next one."""

from __future__ import annotations

from dataclasses import replace

from ..graph import ASKING, ProgramGraph
from .rebuild import streams


def hint_ends(graph: ProgramGraph) -> ProgramGraph:
    """Marks (`last`) each gen behind which nothing more is asked on its stream: the engine keeps no path for it.

    Its text stays in the prefix cache as other text does, and goes when room is needed.
    """
    last: set[int] = set()
    for nodes in streams(graph).values():
        for node in reversed(nodes):
            if node.kind == "gen":
                last.add(node.id)
            if node.kind in ASKING or node.kind in ("fork", "switch"):
                break
    nodes = [replace(node, params={**node.params, "last": True}) if node.id in last else node for node in graph.nodes]
    return replace(graph, nodes=nodes)
