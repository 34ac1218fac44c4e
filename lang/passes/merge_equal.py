"""Merging of equal deterministic calls: streams that begin alike are run as one until they part."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

from ..graph import ASKING, Node, ProgramGraph
from .rebuild import in_order, rebuild, streams

_EPSILON = 1e-5
_COMPARED = frozenset({"text", "var", "gen", "select", "role_begin", "role_end", "scope_begin", "scope_end"})
MAX_ROUNDS = 8
"""What one round merges may let the next one merge more, a level of forks deeper."""


def merge_equal(graph: ProgramGraph, temperature: float, n: int = 1) -> ProgramGraph:
    """Where branches of one fork, or programs called with equal arguments, begin with equal calls that always give the
    same, only the first of them asks; the others go on from its stream as twins, behind the last call that is equal.

    temperature, n: what holds for gens that say nothing. Takes time in proportion to the graph: it may come from
    anybody.
    """
    for _ in range(MAX_ROUNDS):
        found = _find(graph, lambda node: _is_determined(node, temperature, n))
        if not found:
            break
        graph = _merged(graph, found)
    return graph


def _is_determined(node: Node, temperature: float, n: int) -> bool:
    if node.kind == "gen":
        own = node.params.get("temperature")
        if (node.params.get("n") or n) != 1 or "key" in node.params:
            return False
        return float(temperature if own is None else own) <= _EPSILON
    return node.kind != "select" or float(node.params["temperature"]) <= _EPSILON


@dataclass(slots=True)
class _Twin:
    """`other` begins as `first` does, for `equal` nodes."""

    first: list[Node]
    other: list[Node]
    equal: int


@dataclass(slots=True)
class _Beginning:
    """A stream, and what its nodes say as far as they can be compared: a number for equal ones, by `_Keys`."""

    nodes: list[Node]
    keys: list[int]


def _find(graph: ProgramGraph, is_determined: Callable[[Node], bool]) -> list[_Twin]:
    """Twins among the streams that begin at the same place; no stream is in two pairs as the other one."""
    cases = {stream for node in graph.nodes if node.kind == "switch" for stream in node.params["streams"]}
    known: dict[str, int] = {}
    groups: dict[tuple[int | None, int], list[_Beginning]] = {}
    for stream, nodes in streams(graph).items():
        if stream == 0 or stream in cases or _is_twin(graph, nodes[0]):
            continue
        keys = _keys(nodes, is_determined, known)
        if keys:
            groups.setdefault((nodes[0].after, keys[0]), []).append(_Beginning(nodes, keys))
    return [twin for group in groups.values() if len(group) > 1 for twin in _twins(group)]


def _twins(group: list[_Beginning]) -> list[_Twin]:
    found: list[_Twin] = []
    while len(group) > 1:
        first, *others = group
        group = []
        for other in others:
            equal = _equal(first, other)
            if equal:
                found.append(_Twin(first.nodes, other.nodes, equal))
            else:
                group.append(other)
    return found


def _is_twin(graph: ProgramGraph, first: Node) -> bool:
    return first.after is not None and bool(graph.nodes[first.after].params.get("twin"))


def _keys(nodes: list[Node], is_determined: Callable[[Node], bool], known: dict[str, int]) -> list[int]:
    """A number for each node from the first, as far as nodes can be equal. Values of the stream itself are named by
    their place in it."""
    places = {node.id: place for place, node in enumerate(nodes)}
    keys: list[int] = []
    for node in nodes:
        if node.kind not in _COMPARED or not is_determined(node):
            break
        data = [[places[i]] if i in places else i for i in node.data]
        said = json.dumps([node.kind, node.params, data], sort_keys=True, default=repr)
        keys.append(known.setdefault(said, len(known)))
    return keys


def _equal(first: _Beginning, other: _Beginning) -> int:
    """Nodes up to the last equal call outside of scopes; 0 for none."""
    best, scopes = 0, 0
    for i, (a, b) in enumerate(zip(first.keys, other.keys, strict=False)):
        if a != b:
            break
        node = first.nodes[i]
        scopes += (node.kind == "scope_begin") - (node.kind == "scope_end")
        if node.kind in ASKING and scopes == 0:
            best = i + 1
    return best


def _merged(graph: ProgramGraph, twins: list[_Twin]) -> ProgramGraph:
    """All of them at once: a fork of twins behind each last equal node."""
    gone = {b.id: a.id for t in twins for a, b in zip(t.first[: t.equal], t.other[: t.equal], strict=True)}
    forks: dict[int, Node] = {}
    """By the last equal node of a first stream: the fork of its twins there."""
    left_at: dict[int, int] = {}
    """By the last equal node of the other stream: where it goes on."""
    left: set[int] = set()
    for twin in twins:
        last, stream = twin.first[twin.equal - 1], twin.other[0].stream
        left.add(stream)
        fork = forks.get(last.id)
        if fork is None:
            params = {"size": 0, "streams": [], "twin": True}
            fork = Node(
                id=len(graph.nodes) + len(forks),
                kind="fork",
                stream=last.stream,
                params=params,
                after=last.id,
                source=last.source,
            )
            forks[last.id] = fork
        fork.params["streams"].append(stream)
        fork.params["size"] += 1
        left_at[twin.other[twin.equal - 1].id] = fork.id

    def behind(node: Node) -> int | None:
        """What `node` follows now."""
        after = node.after
        if after is None:
            return None
        if after in left_at:
            return left_at[after]
        if after in forks and node.stream == forks[after].stream:
            return forks[after].id
        return gone.get(after, after)

    nodes: list[Node] = []
    for node in graph.nodes:
        if node.id in gone:
            continue
        if node.kind == "fork" and left & set(node.params["streams"]):
            stay = [s for s in node.params["streams"] if s not in left]
            node = replace(node, params={**node.params, "streams": stay, "size": len(stay)})
        at = left_at if node.kind == "join" else {}  # it waits for streams: one that is gone ends at its fork
        data = tuple(at.get(i, gone.get(i, i)) for i in node.data)
        nodes.append(replace(node, after=behind(node), data=data))
        if node.id in forks:
            nodes.append(forks[node.id])
    return rebuild(graph, in_order(nodes))
