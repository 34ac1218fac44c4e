"""One run of a request graph: its nodes go to streams, all at once, and nothing waits for anything but values.

Streams are tasks of one event loop. A branch ends, and what the engine keeps for it may go, when its last node has run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from ..errors import TraceError
from .actions import SglCall, SglRunTools
from .captured import fill
from .choices import (
    constrained_decoding,
    greedy_token_selection,
    token_length_normalized,
    unconditional_likelihood_normalized,
)
from .graph import MIN_CACHED_PREFIX_CHARS, Node, ProgramGraph, is_call
from .group import GatheredList, most_common
from .ir import (
    SglConstantText,
    SglExpr,
    SglExprList,
    SglFuture,
    SglGen,
    SglImage,
    SglRoleBegin,
    SglRoleEnd,
    SglSelect,
    SglSwitch,
    SglTogether,
    SglVarScopeBegin,
    SglVarScopeEnd,
)
from .kept_path import KeptPath
from .native_calls import NativeCalls
from .passes.rebuild import streams
from .sampling import SglSamplingParams
from .slot import Slot
from .stream_executor import StreamExecutor
from .symbols import CAPTURES, apply_op

METHODS = {
    type(method).__name__: method
    for method in (
        token_length_normalized,
        greedy_token_selection,
        unconditional_likelihood_normalized,
        constrained_decoding,
    )
}
"""How a select decides, by the name in its node."""
_reader = ThreadPoolExecutor(1, "radixlang-captures")
"""Reads texts by grammars that may come from anybody: one after the other, beside the event loop."""
SAMPLING_NAMES = frozenset(field.name for field in dataclasses.fields(SglSamplingParams))
_PLAIN: dict[str, tuple[Callable[[Any], SglExpr], str]] = {
    "text": (SglConstantText, "text"),
    "role_begin": (SglRoleBegin, "role"),
    "role_end": (SglRoleEnd, "role"),
    "scope_begin": (SglVarScopeBegin, "name"),
    "scope_end": (SglVarScopeEnd, "name"),
    "image": (SglImage, "path"),
}


class GraphRun:
    """Gives every node to its stream, in order."""

    def __init__(self, graph: ProgramGraph, root: StreamExecutor, arguments: dict[str, Any]) -> None:
        check_arguments(graph, arguments)
        graph.refuse_code("this copy of the graph", kept=True)
        self.graph = graph
        self.root = root
        self.arguments = arguments
        self.streams: dict[int, StreamExecutor] = {0: root}
        self.values: dict[int, Future[Any]] = {}
        self._cases: dict[int, list[Node]] = {}
        """Nodes of the cases of switches, by stream; their switch takes them."""

        self._expected: dict[int, KeptPath] = {}
        """By stream: what is known of how it will begin, held in the engine."""
        self._scopes: dict[tuple[int, Any], Slot] = {}
        """Open ones, by stream and name."""

    def submit(self) -> None:
        """Waits for nothing."""
        self._expect()
        self._cases = {s: [] for node in self.graph.nodes if node.kind == "switch" for s in node.params["streams"]}
        for node in self.graph.nodes:
            if node.stream in self._cases:
                self._cases[node.stream].append(node)
        groups = _groups(self.graph)
        followers = {node.id for group in groups.values() for node in group[1:]}
        for node in self.graph.nodes:
            if node.id in groups:
                self._together(groups[node.id])
            elif node.stream not in self._cases and node.id not in followers:
                self._node(node)

    def _expect(self) -> None:
        """Tells of the streams that begin anew and later what is known of their text: a full cache keeps it."""
        root = self.root
        if not isinstance(root.calls, NativeCalls) or not root.calls.backend.counts_programs:
            return
        first_calls: dict[int, int] = {}
        depths = self.graph.depths()
        for node in self.graph.nodes:
            if is_call(node):
                first_calls.setdefault(node.stream, depths[node.id])
        for node in self.graph.nodes:
            stream, steps = node.stream, first_calls.get(node.stream, 0)
            if node.after is not None or stream <= 0 or steps < 2 or stream in self._expected:
                continue
            text = self.graph.constant_prefix(root.chat_template, stream=stream, arguments=self.arguments)
            if len(text) > MIN_CACHED_PREFIX_CHARS:
                self._expected[stream] = root.calls.expect(text, steps)

    def _together(self, nodes: list[Node]) -> None:
        slots = iter(self._stream(nodes[0]).submit(SglTogether([self._expression(node) for node in nodes])))
        for node in nodes:
            self._defined(node, slots)

    def _stream(self, node: Node) -> StreamExecutor:
        if node.stream not in self.streams:  # a program that the traced one called
            root = self.root
            self.streams[node.stream] = StreamExecutor(
                root.backend, {}, root.default_sampling_para, stream=root.stream, run=root.run
            )
            calls = self.streams[node.stream].calls
            if isinstance(calls, NativeCalls):
                calls.expected = self._expected.pop(node.stream, None)
        return self.streams[node.stream]

    def _node(self, node: Node) -> None:
        params = node.params
        if node.kind == "arg":
            self.values[node.id] = known(str(self.arguments[params["name"]]))
        elif node.kind == "op":
            self._op(node)
        elif node.kind == "set":
            futures = [self.values[i] for i in node.data]
            self.values[node.id] = together(futures, lambda values: fill(params["value"], values))
            dtype = self.graph.types.get(params["name"])
            self._stream(node).set_future(params["name"], self.values[node.id], dtype)
        elif node.kind == "fork":
            children = self._stream(node).fork(
                len(params["streams"]),
                asking=params.get("asking"),
                ready=params.get("ready") or (),
                is_twin=bool(params.get("twin")),
            )
            self.streams.update(zip(params["streams"], children, strict=True))
        elif node.kind == "join":
            self._join(node)
        else:
            slots = iter(self._stream(node).submit(self._expression(node)))
            for inner in self._in_switch(node) if node.kind == "switch" else [node]:
                self._defined(inner, slots)

    def _in_switch(self, node: Node) -> list[Node]:
        """The nodes of all cases, in the order in which SglSwitch has them: the default is the last."""
        pairs = sorted(zip(node.params["keys"], node.params["streams"], strict=True), key=lambda pair: pair[0] is None)
        return [inner for _, stream in pairs for inner in self._cases[stream]]

    def _defined(self, node: Node, slots: Iterator[Slot]) -> None:
        """Gens, selects and begins of scopes have a slot each, in order; an end of a scope has that of its begin."""
        name = node.params.get("name")
        if node.kind in ("gen", "select", "tool", "call"):
            self.values[node.id] = next(slots).future
        elif node.kind == "scope_begin":
            self._scopes[(node.stream, name)] = next(slots)
        elif node.kind == "scope_end" and (node.stream, name) in self._scopes:
            self.values[node.id] = self._scopes.pop((node.stream, name)).future
        elif node.kind == "scope_end":
            raise TraceError(f"the scope {name!r} ends without a begin", where=node.source)

    def _op(self, node: Node) -> None:
        params, futures = node.params, [self.values[i] for i in node.data]
        if params["method"] == "vote":
            self.values[node.id] = voted(futures, params["args"][0])
        else:
            method, args = params["method"], params["args"]
            make = aside if method in CAPTURES else together
            self.values[node.id] = make(futures, lambda values: apply_op(method, args, values[0]))

    def _expression(self, node: Node) -> SglExpr:
        params = node.params
        if node.kind == "gen":
            sampling = {name: value for name, value in params.items() if name in SAMPLING_NAMES}
            name = params.get("name")
            dtype = self.graph.types.get(name) if name else None
            options = {"dtype": dtype or sampling.get("dtype"), **self.graph.code.get(params.get("key", -1), {})}
            options |= {option: params.get(option) for option in ("last", "next_use", "repair", "best_of")}
            expr: SglExpr = SglGen(name, options=options, **sampling)
        elif node.kind == "select":
            method = METHODS.get(params["method"] or "")
            expr = SglSelect(params["name"], params["choices"], params["temperature"], method, params.get("seed"))
        elif node.kind == "var":
            expr = SglFuture(self.values[node.data[0]])
        elif node.kind == "tool":
            expr = SglRunTools(self.values[node.data[0]], self.graph.code[params["key"]]["tools"])
        elif node.kind == "call":
            expr = SglCall(params["program"], params["args"], [self.values[i] for i in node.data])
        elif node.kind == "switch":
            expr = self._switch(node)
        elif node.kind in _PLAIN:
            kind, name = _PLAIN[node.kind]
            expr = kind(params[name])
        else:
            raise TraceError(f"a {node.kind} node cannot be run from a graph", where=node.source)
        if isinstance(expr, (SglGen, SglSelect)):
            expr.where = node.source or expr.where
        expr.graph_node = node.id
        return expr

    def _switch(self, node: Node) -> SglSwitch:
        cases: dict[str, SglExpr] = {}
        default: SglExpr | None = None
        for key, stream in zip(node.params["keys"], node.params["streams"], strict=True):
            case = SglExprList([self._expression(inner) for inner in self._cases[stream]])
            if key is None:
                default = case
            else:
                cases[key] = case
        return SglSwitch(self.values[node.data[0]], cases, default)

    def _join(self, node: Node) -> None:
        parent = self._stream(node)
        branches = [self.streams[stream] for stream in node.params["streams"]]
        if node.params["mode"] == "concate_and_append":
            for branch in branches:
                parent.submit(SglFuture(_added_text(branch)))
            return
        for name in node.params["names"]:
            parent.set_future(name, gathered([branch.value_future(name) for branch in branches]))


def _groups(graph: ProgramGraph) -> dict[int, list[Node]]:
    """By the first gen's id: gens that are fused, with the text between them."""
    groups: dict[int, list[Node]] = {}
    cases = {stream for node in graph.nodes if node.kind == "switch" for stream in node.params["streams"]}
    for stream, nodes in streams(graph).items():
        first: int | None = None
        between: list[Node] = []
        for node in nodes if stream not in cases else ():
            if node.kind == "gen" and node.params.get("together") and first is not None:
                groups.setdefault(first, [graph.nodes[first]]).extend([*between, node])
                between = []
            elif node.kind == "text" and first is not None:
                between.append(node)
            else:
                first, between = node.id if node.kind == "gen" else None, []
    return groups


def check_arguments(graph: ProgramGraph, arguments: dict[str, Any]) -> None:
    """TypeError unless `arguments` are those of the graph."""
    if set(arguments) != set(graph.inputs):
        raise TypeError(f"{graph.name} takes the arguments {graph.inputs}, found {sorted(arguments)}")


def known(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return future


def together(futures: Sequence[Future[Any]], make: Callable[[list[Any]], Any]) -> Future[Any]:
    """What `make` gives of all values; the first error of theirs instead, if there is one."""
    return _when_settled(futures, lambda: make([future.result() for future in futures]))


def aside(futures: Sequence[Future[Any]], make: Callable[[list[Any]], Any]) -> Future[Any]:
    """As `together`, for a `make` that may take long: on a thread, so that the runs of others go on."""
    result: Future[Any] = Future()

    def settle(job: Future[Any]) -> None:
        if result.done():
            return
        if job.exception() is None:
            result.set_result(job.result())
        else:
            result.set_exception(job.exception())

    begun = together(futures, lambda values: _reader.submit(make, values))
    begun.add_done_callback(lambda f: settle(f) if f.exception() else f.result().add_done_callback(settle))
    return result


def voted(futures: Sequence[Future[Any]], name: str) -> Future[Any]:
    """As ProgramStateGroup.vote."""
    return _when_settled(futures, lambda: most_common(futures, name))


def gathered(futures: Sequence[Future[Any]]) -> Future[Any]:
    """The values in order; a failed one keeps its place."""

    def collect() -> GatheredList:
        errors = {i: error for i, f in enumerate(futures) if (error := f.exception()) is not None}
        return GatheredList([None if i in errors else f.result() for i, f in enumerate(futures)], errors)

    return _when_settled(futures, collect)


def _when_settled(futures: Sequence[Future[Any]], make: Callable[[], Any]) -> Future[Any]:
    result: Future[Any] = Future()
    left = list(range(max(len(futures), 1)))

    def finish(_: Future[Any] | None) -> None:
        left.pop()  # one operation for the interpreter: futures are settled by several threads
        if left or result.done():
            return
        try:
            result.set_result(make())
        except Exception as error:
            result.set_exception(error)

    for future in futures:
        future.add_done_callback(finish)
    if not futures:
        finish(None)
    return result


def _added_text(branch: StreamExecutor) -> Future[Any]:
    def text() -> str:
        if branch.error_ is not None:
            raise branch.error_
        return branch.text_[branch.fork_start_text_pos or 0 :]

    return _when_settled([branch.sync_future()], text)
