"""What a request to run a program says, checked whole before any work."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import msgspec

from ...errors import ModelNotFound, RequestError, TraceError, UndefinedVariable
from ...lang.graph import ASKING, Node, ProgramGraph
from ...lang.graph_check import check_graph
from ...lang.graph_run import SAMPLING_NAMES
from ...lang.passes.plan import plan
from ...lang.program import SglFunction
from ...lang.run_options import SAMPLING_OPTIONS, RunOptions
from ...lang.sampling import SglSamplingParams, resolve, unset_sampling_params
from ...lang.usage import Budget
from .. import native_api

ANY_VOCABULARY = 1 << 31
"""Token ids are checked against the model's own when a generation begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramLimits:
    """What one run may hold."""

    nodes: int = 10_000
    streams: int = 1_024
    requests: int = 4_096
    """Generations (n counted) and options to score."""
    tokens: int = 1_000_000
    """Sum of max_new_tokens over all generations."""
    text_chars: int = 1 << 20
    """Text of one stream, and of the arguments together."""
    calls: int = 256
    """Programs that it calls by name, with those that they call."""


class BudgetBody(msgspec.Struct, forbid_unknown_fields=True):
    """What a run may spend; a call that would begin beyond it ends the run."""

    requests: int | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None


class RunBody(msgspec.Struct):
    """POST /v1/programs/run."""

    graph: dict[str, Any] | None = None
    """What ProgramGraph.to_json writes; or else `name`."""
    name: str | None = None
    """Of a registered program."""
    args: dict[str, str | int | float | bool] = {}
    sampling: dict[str, Any] = {}
    """run()'s sampling options: max_new_tokens, temperature …"""
    outputs: list[str] | None = None
    """The values that are wanted; what they do not need is not run."""
    stream: bool = False
    timeout: float | None = None
    """Seconds for the whole run."""
    run_id: str | None = None
    """The name to cancel it by; given by the server where missing."""
    budget: BudgetBody | None = None
    calls: int | None = None
    """Of a run that a run calls: how many programs it may call itself; never more than the limit."""
    program_id: native_api.ProgramId | None = None
    """Of a run that a run calls: that run's id, so that both count as one in the order of service."""


@dataclass(slots=True, kw_only=True)
class ProgramRequest:
    """A run that may begin: of a graph, or of a published program that needs its Python."""

    graph: ProgramGraph | None
    arguments: dict[str, Any]
    options: RunOptions
    is_streamed: bool
    timeout_s: float | None
    run_id: str | None = None
    program: SglFunction | None = None
    calls_left: int = 0
    """For each program that it calls: how many that may call."""
    program_id: str | None = None


def read_body(data: object) -> RunBody:
    """A body from parsed JSON. Raises RequestError naming the field."""
    try:
        return msgspec.convert(data, RunBody)
    except msgspec.ValidationError as error:
        raise native_api.wrong_type(error) from None


def read_graph(data: object, limits: ProgramLimits) -> ProgramGraph:
    """A graph from JSON data. Raises RequestError for one that is no graph or too large."""
    nodes = data.get("nodes") if isinstance(data, dict) else None
    if isinstance(nodes, list) and len(nodes) > limits.nodes:
        raise RequestError(f"the graph has {len(nodes)} nodes; at most {limits.nodes} are allowed", param="graph.nodes")
    try:
        graph = ProgramGraph.from_data(data)
        check_graph(graph)
    except TraceError as error:
        raise RequestError(error.message, param="graph", code="invalid_graph") from error
    num_streams = len(
        {node.stream for node in graph.nodes} | {s for n in graph.nodes for s in n.params.get("streams", ())}
    )
    if num_streams > limits.streams:
        raise RequestError(f"the graph has {num_streams} streams; at most {limits.streams} are allowed", param="graph")
    return graph


def read_request(body: RunBody, known: dict[str, ProgramGraph], limits: ProgramLimits) -> ProgramRequest:
    """Raises RequestError, with the field, for anything that cannot be run, and ModelNotFound for an unknown name."""
    if (body.graph is None) == (body.name is None):
        raise RequestError("give graph or name, one of them", param="graph")
    if body.name is not None and body.name not in known:
        raise ModelNotFound(f"no program {body.name!r} is registered here", param="name", code="program_not_found")
    graph = known[body.name] if body.name is not None else read_graph(body.graph, limits)
    if body.timeout is not None and not (math.isfinite(body.timeout) and body.timeout > 0):
        raise RequestError("timeout must be more than 0 seconds", param="timeout")
    if sorted(body.args) != sorted(graph.inputs):
        raise RequestError(f"{graph.name} takes the arguments {graph.inputs}, found {sorted(body.args)}", param="args")
    arguments = {name: str(value) for name, value in body.args.items()}
    if sum(map(len, arguments.values())) > limits.text_chars:
        raise RequestError(f"the arguments have more than {limits.text_chars} characters", param="args")
    unknown = sorted(set(body.sampling) - set(SAMPLING_OPTIONS))
    if unknown:
        raise RequestError(f"sampling has no field {unknown[0]!r}", param=f"sampling.{unknown[0]}")
    options = RunOptions({**body.sampling, "stream": body.stream, "budget": _budget(body.budget)})
    graph = planned(graph, options, limits, body.outputs)
    return ProgramRequest(
        graph=graph,
        arguments=arguments,
        options=options,
        is_streamed=body.stream,
        timeout_s=body.timeout,
        run_id=body.run_id,
        program_id=body.program_id,
        calls_left=_calls_left(graph, limits.calls if body.calls is None else min(body.calls, limits.calls)),
    )


def _calls_left(graph: ProgramGraph, allowed: int) -> int:
    """What is left of `allowed` for each of the programs that the graph calls. RequestError where it is too few."""
    num = sum(node.kind == "call" for node in graph.nodes)
    if num > allowed:
        raise RequestError(f"the program calls {num} others; at most {allowed} are allowed", param="graph")
    return (allowed - num) // max(num, 1)


def _budget(body: BudgetBody | None) -> Budget | None:
    if body is None:
        return None
    limits = msgspec.to_builtins(body)
    for name, limit in limits.items():
        if limit is not None and limit < 0:
            raise RequestError(f"{name} must be 0 or more, found {limit}", param=f"budget.{name}")
    return Budget(**limits)


def planned(
    graph: ProgramGraph, options: RunOptions, limits: ProgramLimits, outputs: list[str] | None = None
) -> ProgramGraph:
    """What is run for `graph`. Raises RequestError for sampling that cannot be, and for too much work."""
    default = _sampling(None, options, "sampling")
    try:
        graph = plan(graph, outputs, float(default.temperature or 0.0), int(default.n or 1))
    except UndefinedVariable as error:
        raise RequestError(str(error), param="outputs") from None
    _check_work(graph, options, limits)
    return graph


def _check_work(graph: ProgramGraph, options: RunOptions, limits: ProgramLimits) -> None:
    """Every generation's sampling is one that the engine takes, and all of it is within the limits."""
    requests = tokens = 0
    for node in graph.nodes:
        if node.kind == "select":
            requests += len(node.params["choices"])
        elif node.kind in ASKING:
            params = _sampling(node, options, f"graph.nodes.{node.id}.params")
            requests += int(params.n or 1)
            tokens += int(params.n or 1) * int(params.max_new_tokens or 0)
    if requests > limits.requests:
        raise RequestError(
            f"the program makes {requests} requests; at most {limits.requests} are allowed", param="graph"
        )
    if tokens > limits.tokens:
        raise RequestError(
            f"the program may generate {tokens} tokens; at most {limits.tokens} are allowed: lower max_tokens",
            param="graph",
        )


def check_sampling(options: RunOptions) -> None:
    """Raises RequestError for options that no generation can have."""
    _sampling(None, options, "sampling")


def _sampling(node: Node | None, options: RunOptions, path: str) -> SglSamplingParams:
    """What holds for a gen, or for those that say nothing. Raises RequestError naming the field."""
    own = {} if node is None else {k: v for k, v in node.params.items() if k in SAMPLING_NAMES and k != "dtype"}
    try:
        params = resolve(options.sampling(), unset_sampling_params(**own), ())
        wire = {"prompt_parts": ["x"], "sampling_params": params.to_srt_kwargs(), **params.request_fields()}
        call = native_api.parse(native_api.convert(wire))
        call.requests[0].sampling.check(ANY_VOCABULARY)
    except RequestError as error:
        inner = (error.param or "").removeprefix("sampling_params.")
        raise RequestError(error.message, param=f"{path}.{inner}" if inner else path, code=error.code) from error
    except (TypeError, ValueError, AttributeError) as error:
        raise RequestError(f"{path}: {error}", param=path) from error
    return params
