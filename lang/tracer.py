"""A symbolic run of a program: its body runs once with symbols, and what it appends becomes a graph."""

from __future__ import annotations

import contextvars
import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..errors import TraceError, UndefinedVariable
from .backend.base_backend import BaseBackend
from .graph import Node, ProgramGraph
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
    SglSeparateReasoning,
    SglVarScopeBegin,
    SglVarScopeEnd,
    SglVideo,
    as_expr,
)
from .source_location import user_location
from .symbols import Symbol, split_text

if TYPE_CHECKING:
    from .program import SglFunction

logger = logging.getLogger(__name__)

MIN_CACHED_PREFIX_CHARS = 64

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
        self._num_streams = 0

    def new_stream(self, after: int | None) -> TracerProgramState:
        self._num_streams += 1
        return TracerProgramState(self, self._num_streams - 1, after)

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
        node = self.add("op", self.graph.nodes[symbol.node].stream, None, [symbol.node], method=method, args=args)
        return Symbol(self, node, f"{symbol.name}.{method}")

    def call(self, program: SglFunction, args: Sequence[Any], kwargs: dict[str, Any]) -> TracerProgramState:
        """A program called by the traced one: streams of its own in the same graph."""
        own, _ = program.split(kwargs)
        call = program.call_arguments(args, own)
        state = self.new_stream(None)
        state.ret_value = program.func(state, *call.args[1:], **call.kwargs)
        return state


class TracerProgramState:
    """Stands for ProgramState in a trace. `graph` is the whole; `nodes` are this stream's."""

    def __init__(self, trace: Trace, stream: int, after: int | None) -> None:
        self.trace = trace
        self.stream = stream
        self.ret_value: Any = None
        self.variables: dict[str, Any] = {}
        self.fork_node: int | None = None
        self._last = after

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
            self._define(expr.name, self._add("gen", name=expr.name, **_gen_params(expr)))
        elif isinstance(expr, SglSelect):
            method = type(expr.choices_method).__name__ if expr.choices_method is not None else None
            params: dict[str, Any] = {
                "choices": expr.choices,
                "temperature": expr.temperature,
                "method": method,
                "seed": expr.seed,
            }
            self._define(expr.name, self._add("select", name=expr.name, **params))
        elif isinstance(expr, (SglRoleBegin, SglRoleEnd)):
            self._add("role_begin" if isinstance(expr, SglRoleBegin) else "role_end", role=expr.role)
        elif isinstance(expr, SglVarScopeBegin):
            self._add("scope_begin", name=expr.name)
        elif isinstance(expr, SglVarScopeEnd):
            self._define(expr.name, self._add("scope_end", name=expr.name))
        elif isinstance(expr, (SglImage, SglVideo)):
            self._add("image", path=expr.path if isinstance(expr.path, str) else f"{len(expr.path)} bytes")
        elif isinstance(expr, SglInline):
            expr.body(self)  # type: ignore[arg-type]  # stands for a ProgramState
        elif isinstance(expr, SglSeparateReasoning):
            self._append(expr.expr)
        elif isinstance(expr, SglConcateAndAppend):
            self._add("join", [s._last for s in expr.states if s._last is not None], mode="concate_and_append")  # type: ignore[attr-defined]
        else:
            raise TraceError(f"{expr!r} cannot be traced", where=user_location())

    def _define(self, name: str | None, node: int) -> None:
        if name:
            self.variables[name] = Symbol(self.trace, node, name)
            if self.stream == 0 and name not in self.graph.outputs:
                self.graph.outputs.append(name)

    def _role(self, role: str, expr: Any) -> Any:
        if expr is not None:
            self.append(SglRoleBegin(role)).append(expr).append(SglRoleEnd(role))
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
        fork = self._add("fork", size=int(size))
        branches = []
        for _ in range(int(size)):
            branch = self.trace.new_stream(fork)
            branch.variables = dict(self.variables)
            branches.append(branch)
        return TracerGroup(self, branches)

    @contextmanager
    def copy(self, position_ids_offset: Any = None) -> Iterator[TracerProgramState]:
        group = self.fork(1)
        yield group[0]
        group.join()

    # -- reading -----------------------------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Any:
        if name not in self.variables:
            raise UndefinedVariable(f"no variable {name!r} in this program so far", where=user_location())
        return self.variables[name]

    get_var = __getitem__

    def __setitem__(self, name: str, value: Any) -> None:
        self.variables[name] = value

    set_var = __setitem__

    def __contains__(self, name: str) -> bool:
        return name in self.variables

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise TraceError(f"s.{name} needs a running program, which a trace is not", where=user_location())


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
            ends = [state.last_node.node.id for state in self.states]
            self.parent._add("join", ends, mode=mode)
            inherited = self.parent.variables
            names = {n: None for s in self.states for n, v in s.variables.items() if inherited.get(n) is not v}
            for name in names:
                self.parent.variables[name] = [state.variables.get(name) for state in self.states]
        else:
            raise ValueError(f"join knows the modes gather_variable and concate_and_append, not {mode!r}")


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


def _gen_params(expr: SglGen) -> dict[str, Any]:
    """What a gen says, as JSON can hold it; code under "code"."""
    params: dict[str, Any] = {}
    for field in dataclasses.fields(expr.sampling_params):
        value = getattr(expr.sampling_params, field.name)
        if value is not None:
            params[field.name] = value
    if "dtype" in params and not isinstance(params["dtype"], str):
        params["dtype"] = getattr(params["dtype"], "__name__", str(params["dtype"]))
    if expr.options.get("check") is not None:
        params["code"] = "gen(check=...)"
    return params


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
