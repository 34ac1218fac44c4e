"""A symbolic run of a program: its body runs once with symbols, and what it appends becomes a graph."""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..errors import TraceError, UndefinedVariable
from .backend.base_backend import BaseBackend
from .captured import PLACE, capture
from .grammar_data import grammar_text
from .graph import MIN_CACHED_PREFIX_CHARS, Node, ProgramGraph
from .ir import (
    SglConcateAndAppend,
    SglConstantText,
    SglExpr,
    SglExprList,
    SglGen,
    SglImage,
    SglInline,
    SglRoleBegin,
    SglRoleEnd,
    SglSelect,
    SglSwitch,
    SglVarScopeBegin,
    SglVarScopeEnd,
    SglVideo,
    as_expr,
    role_expr,
)
from .run_context import MAX_STREAMS
from .source_location import user_location
from .symbols import Symbol, split_text
from .traced_gen import gen_params
from .traced_group import TracedNode, TracerGroup

if TYPE_CHECKING:
    from .grammar import Grammar
    from .program import SglFunction

_IN_SWITCH = (
    SglExprList, SglConstantText, Symbol, SglGen, SglSelect, SglRoleBegin, SglRoleEnd, SglVarScopeBegin, SglVarScopeEnd
)  # fmt: skip
logger = logging.getLogger(__name__)

_current: contextvars.ContextVar[Trace | None] = contextvars.ContextVar("radixlang_trace", default=None)


def current_trace() -> Trace | None:
    """The trace that is being made in this context."""
    return _current.get()


class Trace:
    """A graph that grows while a body runs."""

    def __init__(self, name: str, inputs: list[str]) -> None:
        self.graph = ProgramGraph(name, inputs)
        self.error: TraceError | None = None
        """Why the trace ends before the program does."""
        self.num_streams = 0

    def new_stream(self, after: int | None) -> TracerProgramState:
        self.num_streams += 1
        return TracerProgramState(self, self.num_streams - 1, after)

    def add(self, kind: str, stream: int, after: int | None, data: Sequence[int] = (), **params: Any) -> int:
        node = Node(
            id=len(self.graph.nodes),
            kind=kind,
            stream=stream,
            params=params,
            after=after,
            data=tuple(data),
            source=user_location(),
        )
        self.graph.nodes.append(node)
        return node.id

    def op(self, symbol: Symbol, method: str, args: list[Any]) -> Symbol:
        if any(isinstance(arg, Symbol) for arg in args):
            raise TraceError(f"{method} takes constants in a trace", where=user_location())
        node = self.add("op", -1, None, [symbol.node], method=method, args=args)
        return Symbol(self, node, f"{symbol.name}.{method}")

    def call(self, program: SglFunction, args: Sequence[Any], kwargs: dict[str, Any]) -> TracerProgramState:
        """A program called by the traced one: streams of its own in the same graph, with its own call's sampling."""
        own, options = program.split(kwargs)
        call = program.call_arguments(args, own)
        state = self.new_stream(None)
        state.sampling = options.sampling_in_graph(program.__name__)
        state.ret_value = program.func(state, *call.args[1:], **call.kwargs)
        return state

    def call_by_name(self, name: str, kwargs: dict[str, Any]) -> Symbol:
        """A node that runs a program which the backend keeps; its value are that run's values, by name."""
        template, nodes = capture(kwargs)
        stream = self.new_stream(None).stream
        return Symbol(self, self.add("call", stream, None, nodes, program=name, args=template), name)


class TracerProgramState:
    """Stands for ProgramState in a trace. `graph` is the whole; `nodes` are this stream's."""

    def __init__(self, trace: Trace, stream: int, after: int | None) -> None:
        self.trace = trace
        self.stream = stream
        self.ret_value: Any = None
        self.variables: dict[str, Any] = {}
        self.is_root = stream == 0
        """Names that are defined here are the program's."""
        self.switch_cases: int | None = None
        """Of a case's stream: its switch node."""
        self.sampling: dict[str, Any] = {}
        """Of a program that the traced one called: what holds for gens that say nothing themselves."""
        self._last = after
        self._scope = ""
        """What names begin with: set while a program runs inline under `into`."""

    @property
    def graph(self) -> ProgramGraph:
        return self.trace.graph

    @property
    def nodes(self) -> list[Node]:
        return [node for node in self.graph.nodes if node.stream == self.stream]

    @property
    def last_node(self) -> TracedNode:
        if self._last is None:
            raise TraceError("nothing was traced on this stream")
        return TracedNode(self.graph, self.graph.nodes[self._last])

    def flatten_nodes(self) -> list[Node]:
        """All nodes, in an order in which they can run."""
        return list(self.graph.nodes)

    # -- appending ---------------------------------------------------------------------------------------------

    def _add(self, kind: str, data: Sequence[int] = (), **params: Any) -> int:
        self._last = self.trace.add(kind, self.stream, self._last, data, **params)
        return self._last

    def __iadd__(self, other: Any) -> TracerProgramState:
        return self.append(other)

    def append(self, other: Any) -> TracerProgramState:
        if other is None:
            raise ValueError("None cannot be appended to a program")
        for part in other if isinstance(other, (list, tuple)) else [other]:
            expr = as_expr(part)
            if expr is None:
                raise TypeError(f"only strings and expressions can be appended, not {type(part).__name__}")
            self._append(expr)
        return self

    def _append(self, expr: SglExpr) -> None:
        if self.switch_cases is not None and not isinstance(expr, _IN_SWITCH):
            raise TraceError(f"a case of switch holds no {expr!r}", where=user_location())
        if isinstance(expr, SglExprList):
            for part in expr.expr_list:
                self._append(part)
        elif isinstance(expr, SglConstantText):
            for piece in split_text(expr.value):
                if isinstance(piece, str):
                    self._add("text", text=piece)
                else:
                    self._add("var", [piece])
        elif isinstance(expr, Symbol):
            self._add("var", [expr.node])
        elif isinstance(expr, SglGen):
            name = self._full(expr.name)
            if name and expr.options.get("dtype") is not None:
                self.graph.types[name] = expr.options["dtype"]
            node = self._add("gen", name=name, **{**self.sampling, **gen_params(expr, self.graph.code)})
            self._define(expr.name, node)
            self._capture(node, expr.options.get("grammar"))
        elif isinstance(expr, SglSelect):
            method = type(expr.choices_method).__name__ if expr.choices_method is not None else None
            params: dict[str, Any] = {
                "choices": expr.choices,
                "temperature": expr.temperature,
                "method": method,
                "seed": expr.seed,
            }
            self._define(expr.name, self._add("select", name=self._full(expr.name), **params))
        elif isinstance(expr, (SglRoleBegin, SglRoleEnd)):
            self._add("role_begin" if isinstance(expr, SglRoleBegin) else "role_end", role=expr.role)
        elif isinstance(expr, SglVarScopeBegin):
            self._add("scope_begin", name=self._full(expr.name))
        elif isinstance(expr, SglVarScopeEnd):
            self._define(expr.name, self._add("scope_end", name=self._full(expr.name)))
        elif isinstance(expr, (SglImage, SglVideo)):
            self._add("image", path=expr.path if isinstance(expr.path, str) else f"{len(expr.path)} bytes")
        elif isinstance(expr, SglInline):
            self._inline(expr)
        elif isinstance(expr, SglSwitch):
            self._switch(expr)
        elif isinstance(expr, SglConcateAndAppend):
            self._join(expr.states, "concate_and_append", [])  # type: ignore[arg-type]  # stand for ProgramStates
        else:
            raise TraceError(f"{expr!r} cannot be traced", where=user_location())

    def _join(self, states: Sequence[TracerProgramState], mode: str, names: list[str]) -> None:
        ends = [state._last for state in states if state._last is not None]
        streams = [state.stream for state in states]
        self._add("join", ends, mode=mode, streams=streams, names=names)

    def _capture(self, node: int, grammar: Grammar | None) -> None:
        """Each captured part becomes an op on the gen's text."""
        if grammar is None or not grammar.names():
            return
        method = "capture" if grammar.is_regular else "capture_in"
        told = grammar.pattern() if grammar.is_regular else grammar_text(grammar)
        for place, (name, dtype) in enumerate(grammar.names()):
            found = self.trace.add("op", -1, None, [node], method=method, args=[told, place])
            full = self._full(name) or name
            if dtype is not None:
                self.graph.types[full] = dtype
            self._add("set", [found], name=full, value={PLACE: 0})
            self._define(name, found)

    def _inline(self, expr: SglInline) -> None:
        """Another body on this stream; `into` begins the names that it defines."""
        if not expr.into:
            expr.body(self)  # type: ignore[arg-type]  # stands for a ProgramState
            return
        scope, outer = self._scope, self.variables
        self._scope, self.variables = f"{scope}{expr.into}.", {}
        try:
            expr.body(self)  # type: ignore[arg-type]
        finally:
            inner, self.variables, self._scope = self.variables, outer, scope
        self.variables[expr.into] = inner

    def _full(self, name: str | None) -> str | None:
        """A name as the run has it."""
        return self._scope + name if name else name

    def _define(self, name: str | None, node: int) -> None:
        if name:
            self.variables[name] = Symbol(self.trace, node, name)
            self._output(name)

    def _output(self, name: str) -> None:
        full = self._scope + name
        if self.is_root and full not in self.graph.outputs:
            self.graph.outputs.append(full)

    def _switch(self, expr: SglSwitch) -> None:
        """A node that takes the value, then each case's nodes on a stream of its own, which the run puts in place."""
        keys: list[str | None] = list(expr.cases)
        cases = [*expr.cases.values()]
        if expr.default is not None:
            keys.append(None)
            cases.append(expr.default)
        streams = [self.trace.new_stream(None) for _ in cases]
        node = self._add("switch", [expr.value.node], keys=keys, streams=[state.stream for state in streams])
        for state, case in zip(streams, cases, strict=True):
            state._last, state.is_root, state.switch_cases = node, self.is_root, node
            state.sampling = self.sampling
            state._append(case)
            self.variables.update(state.variables)

    def _role(self, role: str, expr: Any) -> Any:
        if expr is not None:
            self.append(role_expr(role, expr))
            return None
        return self._block(SglRoleBegin(role), SglRoleEnd(role))

    @contextmanager
    def _block(self, begin: SglExpr, end: SglExpr) -> Iterator[None]:
        self._append(begin)
        try:
            yield
        finally:
            self._append(end)

    def system(self, expr: Any = None) -> Any:
        return self._role("system", expr)

    def user(self, expr: Any = None) -> Any:
        return self._role("user", expr)

    def assistant(self, expr: Any = None) -> Any:
        return self._role("assistant", expr)

    def var_scope(self, name: str) -> Any:
        return self._block(SglVarScopeBegin(name), SglVarScopeEnd(name))

    def fork(self, size: int = 1, position_ids_offset: Any = None) -> TracerGroup:
        if int(size) > MAX_STREAMS - self.trace.num_streams:
            raise TraceError(f"a fork of {size}: a program has at most {MAX_STREAMS} streams", where=user_location())
        streams = [self.trace.new_stream(None) for _ in range(int(size))]
        fork = self._add("fork", size=int(size), streams=[branch.stream for branch in streams])
        for branch in streams:
            branch._last, branch.sampling = fork, self.sampling
            branch.variables = dict(self.variables)
        return TracerGroup(self, streams)

    def fork_map(self, values: Sequence[Any], fn: Callable[[Any, Any], Any], name: str | None = None) -> list[Any]:
        group = self.fork(len(values))
        returned = [fn(branch, value) for branch, value in zip(group, values, strict=True)]
        return returned if name is None else [branch[name] for branch in group]

    @contextmanager
    def copy(self, position_ids_offset: Any = None) -> Iterator[TracerProgramState]:
        group = self.fork(1)
        yield group[0]
        group.join()

    # -- reading -----------------------------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Any:
        if name in self.variables:
            return self.variables[name]
        scope, dot, inner = name.partition(".")
        found = self.variables.get(scope)
        if dot and isinstance(found, dict) and inner in found:
            return found[inner]
        raise UndefinedVariable(f"no variable {name!r} in this program so far", where=user_location())

    get_var = __getitem__

    def __setitem__(self, name: str, value: Any) -> None:
        template, nodes = capture(value)
        self._add("set", nodes, name=self._full(name), value=template)
        self.variables[name] = value
        self._output(name)

    set_var = __setitem__

    def run_tools(self, name: str) -> Symbol:
        """A node that runs the calls in the value of a gen with tools; its value is the list of answers."""
        symbol = self[name]
        key = self.graph.nodes[symbol.node].params.get("key") if isinstance(symbol, Symbol) else None
        tools = self.graph.code.get(key, {}).get("tools") if key is not None else None
        if tools is None:
            raise TraceError(f"{name!r} is no gen with tools", where=user_location())
        told = "the tools " + ", ".join(tool.name for tool in tools)
        return Symbol(self.trace, self._add("tool", [symbol.node], code=told, key=key), f"run_tools({name})")

    def __contains__(self, name: str) -> bool:
        return name in self.variables

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise TraceError(f"s.{name} needs a running program, which a trace is not", where=user_location())


def trace_program(
    program: SglFunction, kwargs: dict[str, Any], backend: BaseBackend | None = None, *, partial: bool = False
) -> TracerProgramState:
    """Traces `program`; arguments that are not given become symbols.

    TraceError, with the line, where the body needs a value that only a run has; with `partial`, the trace ends there
    and says so in `trace.error`.
    """
    given = {**program.bind_arguments, **kwargs}
    symbolic = [n for n in program.arg_names if n not in given and _has_no_default(program, n)]
    trace = Trace(program.__name__, symbolic)
    state = trace.new_stream(None)
    arguments: dict[str, Any] = dict(given)
    for name in symbolic:
        arguments[name] = Symbol(trace, trace.add("arg", -1, None, name=name), name)
    run: Callable[[], Any] = lambda: program.func(state, **arguments)  # noqa: E731
    context = contextvars.copy_context()
    context.run(_current.set, trace)
    try:
        state.ret_value = context.run(run)
    except TraceError as error:
        if not partial:
            raise
        trace.error = error
    return state


def _has_no_default(program: SglFunction, name: str) -> bool:
    parameter = program.signature.parameters[name]
    return parameter.default is parameter.empty


def cache_program(program: SglFunction, backend: BaseBackend) -> None:
    """Has `backend` compute the text that every run of `program` begins with, if that is long enough to be worth it."""
    if program.is_async:
        return
    try:
        state = trace_program(program, {}, partial=True)
    except Exception as error:  # a body may do anything with a symbol; its run will show what is wrong with it
        logger.debug("no constant prefix for %s: %s", program.__name__, error)
        return
    prefix = state.graph.constant_prefix(backend.get_chat_template())
    if len(prefix) > MIN_CACHED_PREFIX_CHARS:
        backend.cache_prefix(prefix)
