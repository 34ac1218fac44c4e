"""Fusing: constrained gens that follow each other on a stream, with text alone between them, become one call."""

from __future__ import annotations

from dataclasses import replace

from ..graph import ProgramGraph
from .rebuild import streams

_CONSTRAINTS = ("regex", "json_schema", "ebnf", "structural_tag", "constraint", "dtype")
_OWN = {"key", "best_of"}
"""What only a call of its own can do."""


def join_gens(graph: ProgramGraph) -> ProgramGraph:
    """Marks (`together`) each gen that goes into the call of the gen before it.

    Where the call would not give what two calls give (penalties, several answers …) a run makes them apart all the
    same: the marks never change a result. A gen whose value is used elsewhere ends its call, so that nothing waits
    longer for it.
    """
    cases = {stream for node in graph.nodes if node.kind == "switch" for stream in node.params["streams"]}
    used = {i for node in graph.nodes if node.kind not in ("set", "join") for i in node.data}
    marked: set[int] = set()
    for stream, nodes in streams(graph).items():
        is_open = False
        for node in nodes if stream not in cases else ():
            if node.kind == "gen":
                is_constrained = any(node.params.get(name) is not None for name in _CONSTRAINTS)
                is_constrained &= not _OWN & set(node.params)
                if is_constrained and is_open:
                    marked.add(node.id)
                is_open = is_constrained and node.id not in used
            elif node.kind != "text":
                is_open = False
    nodes = []
    for node in graph.nodes:
        params = {name: value for name, value in node.params.items() if name != "together"}
        if node.id in marked:
            params["together"] = True
        nodes.append(node if params == node.params else replace(node, params=params))
    return replace(graph, nodes=nodes)
