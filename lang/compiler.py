"""Running a traced program without its Python: the graph's nodes go to the streams, and nothing waits in between.

What depends on a value through Python cannot be traced; with mode="auto" such a program is interpreted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from ..errors import TraceError
from .backend.base_backend import BaseBackend
from .choices import greedy_token_selection, token_length_normalized, unconditional_likelihood_normalized
from .global_config import resolve_backend
from .graph import Node, ProgramGraph
from .group import GatheredList
from .ir import (
    SglConstantText,
    SglExpr,
    SglFuture,
    SglGen,
    SglRoleBegin,
    SglRoleEnd,
    SglSelect,
    SglVarScopeBegin,
    SglVarScopeEnd,
)
from .run_options import RunOptions
from .sampling import SglSamplingParams
from .state import ProgramState
from .stream_executor import StreamExecutor
from .symbols import apply_op
from .waiting import wait

if TYPE_CHECKING:
    from .program import SglFunction

_METHODS = {
    type(method).__name__: method
    for method in (token_length_normalized, greedy_token_selection, unconditional_likelihood_normalized)
}
_SAMPLING_NAMES = frozenset(field.name for field in dataclasses.fields(SglSamplingParams))


class GraphRun:
    """One run of a graph: gives every node to its stream, in order."""

    def __init__(self, graph: ProgramGraph, root: StreamExecutor, arguments: dict[str, Any]) -> None:
        missing = [name for name in graph.inputs if name not in arguments]
        unknown = [name for name in arguments if name not in graph.inputs]
        if missing or unknown:
            raise TypeError(f"{graph.name} takes the arguments {graph.inputs}, found {sorted(arguments)}")
        self.graph = graph
        self.root = root
        self.arguments = arguments
        self.streams: dict[int, StreamExecutor] = {0: root}
        self.values: dict[int, Future[Any]] = {}
        self._branches: dict[int, list[StreamExecutor]] = {}

    def submit(self) -> None:
        """Waits for nothing."""
        for node in self.graph.nodes:
            self._node(node)

    def _stream(self, node: Node) -> StreamExecutor:
        if node.stream not in self.streams:
            before = None if node.after is None else self.graph.nodes[node.after]
            if before is not None and before.kind == "fork":
                self.streams[node.stream] = self._branches[before.id].pop(0)
            else:  # a program that the traced one called
                root = self.root
                self.streams[node.stream] = StreamExecutor(
                    root.backend, {}, root.default_sampling_para, stream=root.stream, run=root.run
                )
        return self.streams[node.stream]

    def _node(self, node: Node) -> None:
        params = node.params
        if node.kind == "arg":
            self.values[node.id] = _known(str(self.arguments[params["name"]]))
        elif node.kind == "op":
            self.values[node.id] = _mapped(self.values[node.data[0]], params["method"], params["args"])
        elif node.kind == "fork":
            self._branches[node.id] = self._stream(node).fork(params["size"])
        elif node.kind == "join":
            self._join(node)
        else:
            self._expression(node, self._stream(node))

    def _expression(self, node: Node, stream: StreamExecutor) -> None:
        params = node.params
        if node.kind == "gen":
            sampling = {name: value for name, value in params.items() if name in _SAMPLING_NAMES}
            expr: SglExpr = SglGen(params.get("name"), options={"dtype": sampling.get("dtype")}, **sampling)
        elif node.kind == "select":
            method = _METHODS.get(params["method"] or "")
            expr = SglSelect(params["name"], params["choices"], params["temperature"], method, params.get("seed"))
        elif node.kind == "var":
            expr = SglFuture(self.values[node.data[0]])
        else:
            plain = {"text": (SglConstantText, "text"), "role_begin": (SglRoleBegin, "role")}
            plain |= {"role_end": (SglRoleEnd, "role"), "scope_begin": (SglVarScopeBegin, "name")}
            plain |= {"scope_end": (SglVarScopeEnd, "name")}
            if node.kind not in plain:
                raise TraceError(f"a {node.kind} node cannot be run from a graph", where=node.source)
            kind, name = plain[node.kind]
            expr = kind(params[name])
        stream.submit(expr)
        defined = params.get("name")
        if defined and node.kind in ("gen", "select", "scope_end"):
            self.values[node.id] = stream.slots[defined].future

    def _join(self, node: Node) -> None:
        parent = self._stream(node)
        branches = [self.streams[self.graph.nodes[end].stream] for end in node.data]
        if node.params["mode"] == "concate_and_append":
            for branch in branches:
                parent.submit(SglFuture(_added_text(branch)))
            return
        for name in dict.fromkeys(name for branch in branches for name in branch.own_names()):
            gathered = _gathered([branch.value_future(name) for branch in branches])
            parent.set_future(name, gathered)


def _known(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return future


def _mapped(source: Future[Any], method: str, args: list[Any]) -> Future[Any]:
    result: Future[Any] = Future()

    def finish(done: Future[Any]) -> None:
        try:
            result.set_result(apply_op(method, args, str(done.result())))
        except Exception as error:
            result.set_exception(error)

    source.add_done_callback(finish)
    return result


def _added_text(branch: StreamExecutor) -> Future[Any]:
    result: Future[Any] = Future()

    def finish(_: Future[None]) -> None:
        if branch.error_ is not None:
            result.set_exception(branch.error_)
        else:
            result.set_result(branch.text_[branch.fork_start_text_pos or 0 :])

    branch.sync_future().add_done_callback(finish)
    return result


def _gathered(futures: Sequence[Future[Any]]) -> Future[Any]:
    result: Future[Any] = Future()
    left = list(futures)

    def finish(done: Future[Any]) -> None:
        left.remove(done)
        if not left:
            errors = {i: error for i, f in enumerate(futures) if (error := f.exception()) is not None}
            values = [None if i in errors else f.result() for i, f in enumerate(futures)]
            result.set_result(GatheredList(values, errors))

    for future in futures:
        future.add_done_callback(finish)
    return result


class CompiledProgram:
    """A program that runs from its graph; `graph` is None where only its Python can run it, and `reason` says why."""

    def __init__(self, program: SglFunction, graph: ProgramGraph | None, reason: TraceError | None) -> None:
        self.program = program
        self.graph = graph
        self.reason = reason

    def print_graph(self) -> None:
        """Prints the graph's text form."""
        print(self.graph)

    def run(self, **kwargs: Any) -> ProgramState:
        """As the program's run; returns at once, with everything under way."""
        if self.graph is None:
            return self.program.run(**kwargs)
        own, options = self.program.split(kwargs)
        return run_graph(self.graph, resolve_backend(options.backend), own, options)

    def run_batch(self, entries: Sequence[dict[str, Any]], **options: Any) -> list[ProgramState]:
        """One run for each entry, all under way at once; in order. Waits for them."""
        if self.graph is None:
            return list(self.program.run_batch(entries, **options))
        states = [self.run(**{**options, **entry}) for entry in entries]
        for state in states:
            state.sync()
        return states


def run_graph(
    graph: ProgramGraph, backend: BaseBackend, arguments: dict[str, Any], options: RunOptions
) -> ProgramState:
    """Runs `graph` on `backend`: the same values as its program gives, and no body in between."""
    root = StreamExecutor(backend, arguments, options.sampling(), stream=options.stream, run=options.run_context())
    GraphRun(graph, root, arguments).submit()
    root.run.end()
    root.run.ret_value.set_result(None)
    state = ProgramState(root)
    if not options.use_thread:
        wait(root.sync_future())
    return state


def compile_program(program: SglFunction, mode: str, arguments: dict[str, Any]) -> CompiledProgram:
    """See SglFunction.compile."""
    from .tracer import trace_program

    if mode not in ("auto", "graph"):
        raise ValueError(f'mode is "auto" or "graph", not {mode!r}')
    try:
        return CompiledProgram(program, trace_program(program, arguments).graph, None)
    except TraceError as error:
        if mode == "graph":
            raise
        return CompiledProgram(program, None, error)
