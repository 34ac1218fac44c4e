"""Dead-branch elimination: what the wanted outputs do not need is not run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...errors import UndefinedVariable
from ..graph import Node, ProgramGraph
from .rebuild import rebuild

_TEXTLESS = frozenset({"set", "op", "arg"})
"""Kinds that neither read nor extend their stream's text; a join that gathers is another."""


def drop_unused(graph: ProgramGraph, outputs: Sequence[str]) -> ProgramGraph:
    """Keeps what `outputs` are made of: their definitions, the text before those, and the values in it.

    UndefinedVariable for a name that the root stream does not define.
    """
    unknown = [name for name in outputs if name not in graph.outputs]
    if unknown:
        known = ", ".join(graph.outputs) or "none"
        raise UndefinedVariable(f"{graph.name} has no output {', '.join(unknown)}; its outputs are: {known}")
    wanted = _Wanted(graph)
    for name in outputs:
        wanted.name(name)
    for node in graph.nodes:
        if node.kind == "tool":  # what it does is not seen here
            wanted.node(node.id)
    wanted.close()
    kept = [wanted.trimmed(node) for node in graph.nodes if node.id in wanted.nodes or node.kind == "arg"]
    dropped = [node for node in graph.nodes if node.id not in wanted.nodes and node.kind != "arg"]
    moved = {node.id: node.after for node in dropped if node.after is not None}
    result = rebuild(graph, kept, moved)
    result.outputs = [name for name in graph.outputs if name in set(outputs)]
    return result


def is_textless(node: Node) -> bool:
    """Whether the text of the node's stream is the same before and behind it, and nothing to it."""
    return node.kind in _TEXTLESS or (node.kind == "join" and node.params["mode"] == "gather_variable")


class _Wanted:
    """The closure of what is needed."""

    def __init__(self, graph: ProgramGraph) -> None:
        self.graph = graph
        self.nodes: set[int] = set()
        self.gathered: dict[int, set[str]] = {}
        """Of a join: the names of it that are needed."""
        self._todo: list[int] = []
        self._definers: dict[tuple[int, str], list[int]] = {}
        self._of_case: dict[int, Node] = {}
        for node in graph.nodes:
            if node.kind == "switch":
                self._of_case.update(dict.fromkeys(node.params["streams"], node))
        for node in graph.nodes:
            stream = self._home(node.stream)
            for name in _defines(node):
                self._definers.setdefault((stream, name), []).append(node.id)

    def _home(self, stream: int) -> int:
        """The stream that a case of a switch extends."""
        while stream in self._of_case:
            stream = self._of_case[stream].stream
        return stream

    def name(self, name: str, stream: int = 0) -> None:
        """All definitions: which of them holds depends on where a switch goes."""
        for node in self._definers.get((stream, name), ()):
            self.node(node)
            if self.graph.nodes[node].kind == "join" and name not in self.gathered.setdefault(node, set()):
                self.gathered[node].add(name)
                for branch in self.graph.nodes[node].params["streams"]:
                    self.name(name, branch)

    def node(self, node: int) -> None:
        if node not in self.nodes:
            self.nodes.add(node)
            self._todo.append(node)

    def close(self) -> None:
        while self._todo:
            node = self.graph.nodes[self._todo.pop()]
            if node.kind != "join":
                for source in node.data:
                    self.node(source)
            elif node.params["mode"] == "concate_and_append":
                for branch in node.params["streams"]:
                    self._whole(branch)
            if node.kind == "switch":
                for case in node.params["streams"]:
                    self._whole(case)
            if node.stream in self._of_case:
                self.node(self._of_case[node.stream].id)
            if node.kind == "scope_end" or not is_textless(node):
                self._before(node)

    def _before(self, node: Node) -> None:
        """The text before `node`: the nearest node of its stream, or of its parent's, that has to do with text."""
        after = node.after
        while after is not None and is_textless(self.graph.nodes[after]):
            after = self.graph.nodes[after].after
        if after is not None:
            self.node(after)

    def _whole(self, stream: int) -> None:
        for node in self.graph.nodes:
            if node.stream == stream and not is_textless(node):
                self.node(node.id)

    def trimmed(self, node: Node) -> Node:
        """A join gathers needed names only."""
        if node.kind == "join" and node.id in self.gathered:
            names = [name for name in node.params["names"] if name in self.gathered[node.id]]
            return replace(node, params={**node.params, "names": names})
        return node


def _defines(node: Node) -> list[str]:
    if node.kind == "join":
        return list(node.params["names"])
    name = node.params.get("name")
    return [name] if name and node.kind in ("gen", "select", "scope_end", "set") else []
