"""Compiled programs: a traced program's graph, the plan that is run for it, and the ways to run it.

What depends on a value through Python cannot be traced; with mode="auto" such a program is interpreted.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, ProgramError, TraceError
from .backend.base_backend import BaseBackend, NativeBackend
from .global_config import resolve_backend
from .graph import MIN_CACHED_PREFIX_CHARS, ProgramGraph
from .graph_run import GraphRun, check_arguments
from .loop import run as run_on_loop
from .passes.plan import plan
from .remote_run import RemoteRun
from .run_options import SAMPLING_OPTIONS, RunOptions
from .state import ProgramState
from .stream_executor import StreamExecutor
from .tools import Tool

if TYPE_CHECKING:
    from .program import SglFunction


SERVER_GRACE_S = 1.0
"""Seconds that a server gets beyond a run's deadline, which is kept here: its own only bounds what is left behind."""


class CompiledProgram:
    """A program that runs from its graph; `graph` is None where only its Python can run it, and `reason` says why.

    graph: what the program says. outputs: the values that are wanted, None for all; what they do not need is not run.
    """

    def __init__(
        self,
        program: SglFunction,
        graph: ProgramGraph | None,
        reason: TraceError | None,
        outputs: Sequence[str] | None = None,
        backend: BaseBackend | None = None,
    ) -> None:
        self.program = program
        self.graph = graph
        self.reason = reason
        self.prefix_graph: ProgramGraph | None = None
        """Of a program without a graph: what it says before it needs a value that only a run has."""
        self.outputs = None if outputs is None else list(outputs)
        self.backend = backend
        self._plans: dict[tuple[bool, int], ProgramGraph] = {}
        if graph is not None:
            self.plan()  # wrong outputs are told at once

    def plan(self, *, temperature: float = 1.0, n: int = 1) -> ProgramGraph:
        """The graph that a run executes, with the run's `temperature` and `n`. TraceError without a graph."""
        if self.graph is None:
            raise self.reason or TraceError(f"{self.program.__name__} has no graph")
        key = (temperature <= 1e-5, n)
        if key not in self._plans:
            self._plans[key] = plan(self.graph, self.outputs, temperature, n)
        return self._plans[key]

    def print_graph(self) -> None:
        """Prints the graph's text form."""
        print(self.graph)

    def run(self, *, remote: bool = False, **kwargs: Any) -> ProgramState:
        """As the program's run; returns at once, with everything under way.

        remote: the graph goes to the backend in one request, and runs there.
        """
        if self.graph is None:
            if remote:
                raise self.reason or TraceError(f"{self.program.__name__} has no graph")
            return self.program.run(**self._with_backend(kwargs))
        own, options = self.program.split(self._with_backend(kwargs))
        fixed = {name: own[name] for name in own if name in self.program.arg_names and name not in self.graph.inputs}
        if fixed:  # arguments with defaults are constants of the graph: another value is another graph
            other = compile_program(self.program, "auto", self.outputs, self.backend, fixed)
            return other.run(remote=remote, **{name: value for name, value in kwargs.items() if name not in fixed})
        chosen = self.plan(temperature=options.values["temperature"], n=options.values["n"])
        backend = resolve_backend(options.backend)
        if remote:
            check_arguments(chosen, own)
            return run_remote(
                {"graph": graph_data(chosen)},
                backend,
                own,
                options,
                chosen.outputs,
                chosen.types,
                tools=tools_of(chosen),
            )
        return run_graph(chosen, backend, own, options)

    def _with_backend(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        return kwargs if self.backend is None or "backend" in kwargs else {**kwargs, "backend": self.backend}

    def run_batch(
        self, entries: Sequence[dict[str, Any]], *, remote: bool = False, **options: Any
    ) -> list[ProgramState]:
        """One run for each entry, all under way at once; in order. Waits for them."""
        if self.graph is None and not remote:
            self._hint(resolve_backend(options.get("backend") or self.backend))
            return list(self.program.run_batch(entries, **self._with_backend(options)))
        states = [self.run(remote=remote, **{**options, **entry}) for entry in entries]
        try:
            for state in states:
                for stream in state.stream_executor.run.streams():
                    stream.sync()
        except KeyboardInterrupt:
            for state in states:
                state.cancel()
            raise
        return states

    def _hint(self, backend: BaseBackend) -> None:
        """Has the backend compute what all runs begin with, if that is worth it."""
        if self.prefix_graph is not None:
            prefix = self.prefix_graph.constant_prefix(backend.get_chat_template())
            if len(prefix) > MIN_CACHED_PREFIX_CHARS:
                backend.cache_prefix(prefix)

    async def arun(self, *, remote: bool = False, **kwargs: Any) -> ProgramState:
        """As run, for asyncio: returns when the program has finished. Cancelling the task cancels the program."""
        if self.graph is None and not remote:
            return await self.program.arun(**self._with_backend(kwargs))
        state = self.run(remote=remote, **kwargs)
        try:
            for stream in state.stream_executor.run.streams():
                await asyncio.wrap_future(stream.sync_future())
        except asyncio.CancelledError:
            state.cancel()
            raise
        return state

    def register(self, name: str, backend: BaseBackend | None = None) -> None:
        """Has the backend keep the program under `name`, for `radixlang.call`."""
        host = _host(resolve_backend(backend or self.backend))
        run_on_loop(host.native_register_program(name, graph_data(self.plan())))


def tools_of(graph: ProgramGraph) -> dict[str, list[Tool]]:
    """Of gens with tools, by the names of their values."""
    named = [(node.params.get("name"), graph.code.get(node.params.get("key", -1), {})) for node in graph.nodes]
    return {name: code["tools"] for name, code in named if name and "tools" in code}


def graph_data(graph: ProgramGraph) -> dict[str, Any]:
    """The graph as JSON data, for where the model is. TraceError if it holds Python."""
    graph.refuse_code("a server")
    data: dict[str, Any] = json.loads(graph.to_json())
    return data


def run_graph(
    graph: ProgramGraph, backend: BaseBackend, arguments: dict[str, Any], options: RunOptions
) -> ProgramState:
    """Runs `graph` on `backend`: the same values as its program gives, and no body in between."""
    check_arguments(graph, arguments)
    run = options.run_context(backend)
    root = StreamExecutor(backend, arguments, options.sampling(), stream=options.stream, run=run)
    GraphRun(graph, root, arguments).submit()
    root.run.end()
    root.run.ret_value.set_result(None)
    state = ProgramState(root)
    if not options.use_thread:
        root.run.wait(root.sync_future())
    return state


def call_program(name: str, kwargs: dict[str, Any]) -> ProgramState:
    """Runs the program that the backend keeps under `name`; `kwargs`: its arguments, and options of run."""
    from .run_options import RUN_OPTIONS

    options = RunOptions({k: v for k, v in kwargs.items() if k in RUN_OPTIONS})
    own = {k: v for k, v in kwargs.items() if k not in RUN_OPTIONS}
    return run_remote({"name": name}, resolve_backend(options.backend), own, options, [], {})


def run_remote(
    program: dict[str, Any],
    backend: BaseBackend,
    arguments: dict[str, Any],
    options: RunOptions,
    names: list[str],
    types: dict[str, Any],
    *,
    tools: dict[str, list[Tool]] | None = None,
) -> ProgramState:
    """One request for a whole program. `program`: {"graph": …} or {"name": …}."""
    host = _host(backend)
    sampling = {k: v for k, v in options.values.items() if k in SAMPLING_OPTIONS and v != SAMPLING_OPTIONS[k]}
    request = {
        **program,
        "args": {name: str(value) for name, value in arguments.items()},
        "sampling": sampling,
        "stream": options.stream or options.on_event is not None,
        **({"budget": dataclasses.asdict(options.budget)} if options.budget is not None else {}),
        **({"timeout": options.timeout_s + SERVER_GRACE_S} if options.timeout_s is not None else {}),
    }
    run = options.run_context(host)
    root = StreamExecutor(host, arguments, options.sampling(), stream=options.stream, run=run)
    root.submit(RemoteRun(request, names, types, tools or {}))
    root.sync_future().add_done_callback(lambda _: _end(root))
    root.end_stream()
    if not options.use_thread:
        root.run.wait(root.sync_future())
    return ProgramState(root, is_reader=True)


def _end(root: StreamExecutor) -> None:
    root.run.ret_value.set_result(None)
    root.notify()


def _host(backend: BaseBackend) -> NativeBackend:
    if not isinstance(backend, NativeBackend):
        raise ConfigError(f"{type(backend).__name__} runs no programs: it needs a radixlang engine or server")
    return backend


def compile_program(
    program: SglFunction,
    mode: str,
    outputs: Sequence[str] | None,
    backend: BaseBackend | None,
    arguments: dict[str, Any],
) -> CompiledProgram:
    """See SglFunction.compile."""
    from .tracer import trace_program

    if mode not in ("auto", "graph"):
        raise ValueError(f'mode is "auto" or "graph", not {mode!r}')
    try:
        graph = trace_program(program, arguments).graph
        return CompiledProgram(program, graph, None, outputs, backend)
    except TraceError as error:
        if mode == "graph":
            raise
        made = CompiledProgram(program.bind(**arguments), None, error, outputs, backend)
        with contextlib.suppress(ProgramError):
            made.prefix_graph = trace_program(program, arguments, partial=True).graph
        return made
