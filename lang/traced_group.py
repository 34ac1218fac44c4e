"""What a trace gives beside its streams: the branches of a fork, and a node with its graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..errors import TraceError
from .graph import Node, ProgramGraph
from .ir import SglConcateAndAppend, SglExpr
from .source_location import user_location
from .symbols import Symbol

if TYPE_CHECKING:
    from .tracer import TracerProgramState


class TracerGroup:
    """The branches of a fork in a trace."""

    def __init__(self, parent: TracerProgramState, states: list[TracerProgramState]) -> None:
        self.parent = parent
        self.states = states

    def __getitem__(self, i: int) -> TracerProgramState:
        return self.states[i]

    def __setitem__(self, i: int, value: TracerProgramState) -> None:
        assert self.states[i] is value, "branches cannot be exchanged"

    def __len__(self) -> int:
        return len(self.states)

    def __iter__(self) -> Iterator[TracerProgramState]:
        return iter(self.states)

    def __iadd__(self, other: Any) -> TracerGroup:
        is_function = callable(other) and not isinstance(other, SglExpr)
        for i, state in enumerate(self.states):
            state.append(other(i) if is_function else other[i] if isinstance(other, (list, tuple)) else other)
        return self

    def join(self, mode: str = "gather_variable") -> None:
        if mode == "concate_and_append":
            self.parent._append(SglConcateAndAppend(self.states))  # type: ignore[arg-type]  # stand for ProgramStates
        elif mode == "gather_variable":
            inherited = self.parent.variables
            names = {n: None for s in self.states for n, v in s.variables.items() if inherited.get(n) is not v}
            defined = [(n, s.variables[n]) for n in names for s in self.states if n in s.variables]
            full = dict.fromkeys(each for n, value in defined for each in _full(n, value))
            self.parent._join(self.states, mode, list(full))
            for name in names:
                self.parent.variables[name] = [state.variables.get(name) for state in self.states]
            for name in full:
                self.parent._output(name)
        else:
            raise ValueError(f"join knows the modes gather_variable and concate_and_append, not {mode!r}")

    def vote(self, name: str) -> Symbol:
        nodes = []
        for state in self.states:
            value = state[name]
            if not isinstance(value, Symbol):
                raise TraceError(f"vote({name!r}) needs what gens or selects define", where=user_location())
            nodes.append(value.node)
        trace = self.parent.trace
        node = trace.add("op", -1, None, nodes, method="vote", args=[name])
        return Symbol(trace, node, f"vote({name})")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise TraceError(f"group.{name} needs a running program, which a trace is not", where=user_location())


def _full(name: str, value: Any) -> Iterator[str]:
    """`name`; for a program that ran inline under it, or for several that were gathered, the names of its values."""
    if isinstance(value, dict):
        for inner, part in value.items():
            yield from _full(f"{name}.{inner}", part)
    elif isinstance(value, list) and any(isinstance(part, (dict, list)) for part in value):
        for part in value:
            yield from _full(name, part) if part is not None else ()
    else:
        yield name


@dataclasses.dataclass(frozen=True)
class TracedNode:
    """A node with its graph, as SGLang's tracer gives it."""

    graph: ProgramGraph
    node: Node

    def print_graph_dfs(self) -> str:
        """The node and all that it follows, a line each."""
        wanted, todo = set[int](), [self.node.id]
        while todo:
            node = self.graph.nodes[todo.pop()]
            if node.id not in wanted:
                wanted.add(node.id)
                todo += [*node.data, *([] if node.after is None else [node.after])]
        lines = self.graph.render("text").splitlines()
        return "".join(f"{lines[i]}\n" for i in sorted(wanted))
