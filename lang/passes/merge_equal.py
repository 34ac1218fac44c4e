"""Merging of equal deterministic calls: streams that begin alike are run as one until they part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ..graph import ASKING, Node, ProgramGraph
from .rebuild import in_order, rebuild, streams

_EPSILON = 1e-5
_COMPARED = frozenset({"text", "var", "gen", "select", "role_begin", "role_end", "scope_begin", "scope_end"})


def merge_equal(graph: ProgramGraph, temperature: float, n: int = 1) -> ProgramGraph:
    """Where branches of one fork, or programs called with equal arguments, begin with equal calls that always give the
    same, only the first of them asks; the others go on from its stream as twins, behind the last call that is equal.

    temperature, n: what holds for gens that say nothing.
    """
    while True:
        found = _find(graph, lambda node: _is_determined(node, temperature, n))
        if found is None:
            return graph
        graph = _merged(graph, *found)


def _is_determined(node: Node, temperature: float, n: int) -> bool:
    if node.kind == "gen":
        own = node.params.get("temperature")
        if (node.params.get("n") or n) != 1 or "code" in node.params:
            return False
        return float(temperature if own is None else own) <= _EPSILON
    return node.kind != "select" or float(node.params["temperature"]) <= _EPSILON


def _find(graph: ProgramGraph, is_determined: Callable[[Node], bool]) -> tuple[list[Node], list[Node], int] | None:
    """(the first stream, its twin, how many nodes of them are equal), if there are such."""
    groups: dict[int | None, list[list[Node]]] = {}
    cases = {stream for node in graph.nodes if node.kind == "switch" for stream in node.params["streams"]}
    for stream, nodes in streams(graph).items():
        if stream != 0 and stream not in cases and not _is_twin(graph, nodes[0]):
            groups.setdefault(nodes[0].after, []).append(nodes)
    for group in groups.values():
        for i, first in enumerate(group):
            for other in group[i + 1 :]:
                equal = _equal(first, other, is_determined)
                if equal:
                    return first, other, equal
    return None


def _is_twin(graph: ProgramGraph, first: Node) -> bool:
    return first.after is not None and bool(graph.nodes[first.after].params.get("twin"))


def _equal(first: Sequence[Node], other: Sequence[Node], is_determined: Callable[[Node], bool]) -> int:
    """Nodes up to the last equal call outside of scopes; 0 for none. Values inside are equal where their nodes are."""
    pairs: dict[int, int] = {}
    best, scopes = 0, 0
    for i, (a, b) in enumerate(zip(first, other, strict=False)):
        same_data = [pairs.get(x, x) for x in b.data] == list(a.data)
        if a.kind != b.kind or a.kind not in _COMPARED or a.params != b.params or not same_data:
            break
        if not is_determined(a):
            break
        pairs[b.id] = a.id
        scopes += (a.kind == "scope_begin") - (a.kind == "scope_end")
        if a.kind in ASKING and scopes == 0:
            best = i + 1
    return best


def _merged(graph: ProgramGraph, first: list[Node], other: list[Node], equal: int) -> ProgramGraph:
    last = first[equal - 1]
    gone = {b.id: a.id for a, b in zip(first[:equal], other[:equal], strict=True)}
    stream = other[0].stream
    fork = Node(
        id=len(graph.nodes),
        kind="fork",
        stream=last.stream,
        params={"size": 1, "streams": [stream], "twin": True},
        after=last.id,
        source=last.source,
    )
    moved = {**gone, other[equal - 1].id: fork.id, **{last.id: last.id}}
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.id in gone:
            continue
        if node.kind == "fork" and stream in node.params["streams"]:
            left = [s for s in node.params["streams"] if s != stream]
            node = replace(node, params={**node.params, "streams": left, "size": len(left)})
        if node.after is not None:
            if (node.after == last.id and node.stream == last.stream) or node.after == other[equal - 1].id:
                node = replace(node, after=fork.id)
            node = replace(node, after=gone.get(node.after, node.after) if node.after is not None else None)
        if node.kind == "join":  # waits for streams; a stream that is gone but for its twin ends at the fork
            node = replace(node, data=tuple(moved.get(i, i) for i in node.data))
        else:
            node = replace(node, data=tuple(gone.get(i, i) for i in node.data))
        nodes.append(node)
        if node.id == last.id:
            nodes.append(fork)
    return rebuild(graph, in_order(nodes))
