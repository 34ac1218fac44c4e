"""The programs of one engine: graphs kept by name, and the runs under way.

Everything on the engine's event loop. A run is one unit: of cancelling, of its deadline, of usage and of events.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Any

import msgspec

from ...errors import Aborted, OverloadedError, ProgramError, ProgramTimeout, RadixlangError, RequestError
from ...lang.backend.base_backend import NativeBackend
from ...lang.graph import ProgramGraph
from ...lang.graph_run import GraphRun
from ...lang.group import GatheredList
from ...lang.remote_run import ERROR_CODES
from ...lang.run_context import RunContext
from ...lang.run_options import RunOptions
from ...lang.stream_executor import StreamExecutor
from ...lang.waiting import settled
from .body import begin_body
from .published import Published
from .request import ProgramLimits, ProgramRequest, RunBody, check_sampling, planned, read_graph, read_request

logger = logging.getLogger(__name__)

MAX_PROGRAMS = 1_000
MAX_RUNS = 1_024
MAX_NAME_CHARS = 200


class ProgramHost:
    """`limits` hold for each run."""

    def __init__(self, limits: ProgramLimits | None = None) -> None:
        self.limits = limits or ProgramLimits()
        self.programs: dict[str, ProgramGraph] = {}
        self.created: dict[str, int] = {}
        self._runs: dict[str, RunContext] = {}

    # -- kept programs

    def register(self, name: str, data: object) -> ProgramGraph:
        """Keeps a graph; one of the same name is replaced. Raises RequestError."""
        if not 0 < len(name) <= MAX_NAME_CHARS or not name.isprintable() or "/" in name or name == "run":
            raise RequestError("name must be 1 to 200 printable characters without a slash, and not run", param="name")
        graph = read_graph(data, self.limits)
        if name not in self.programs and len(self.programs) >= MAX_PROGRAMS:
            raise RequestError(f"at most {MAX_PROGRAMS} programs are kept", param="name")
        self.programs[name] = graph
        self.created[name] = int(time.time())
        return graph

    # -- runs

    def prepare(self, body: RunBody) -> ProgramRequest:
        """Checks a run before it begins. Raises RequestError; OverloadedError where too many are under way."""
        request = read_request(body, self.programs, self.limits)
        if request.run_id is not None and request.run_id in self._runs:
            raise RequestError(f"a run with id {request.run_id!r} is under way", param="run_id")
        if len(self._runs) >= MAX_RUNS:
            raise OverloadedError(f"{MAX_RUNS} programs are running; try again", status=429, code="too_many_programs")
        return request

    def prepare_published(
        self,
        published: Published,
        arguments: dict[str, Any],
        sampling: dict[str, Any],
        *,
        timeout: float,
        stream: bool = False,
    ) -> ProgramRequest:
        """As `prepare`, for a program that is published here, with arguments that it has checked."""
        if len(self._runs) >= MAX_RUNS:
            raise OverloadedError(f"{MAX_RUNS} programs are running; try again", status=429, code="too_many_programs")
        options = RunOptions({**sampling, "stream": stream})
        graph = published.graph
        if graph is not None:
            graph = planned(graph, options, self.limits)
            arguments = {name: str(value) for name, value in arguments.items()}
        else:
            check_sampling(options)
        program = None if graph is not None else published.program
        return ProgramRequest(
            graph=graph, arguments=arguments, options=options, is_streamed=stream, timeout_s=timeout, program=program
        )

    def cancel(self, run_id: str) -> bool:
        """Ends a run; whether there was one."""
        run = self._runs.get(run_id)
        if run is not None:
            run.cancel_by_user()
        return run is not None

    async def run(
        self,
        request: ProgramRequest,
        backend: NativeBackend,
        on_begin: Callable[[StreamExecutor], None] | None = None,
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Events: started, then gen, piece and value of nodes as they come, then done, which holds everything.

        on_begin: is given the root stream. Raises what the program failed with. Leaving the generator early cancels
        what still runs.
        """
        events: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        tell: Callable[[dict[str, Any]], Any] = events.put_nowait
        if request.program is not None:  # its body runs in a thread
            tell = partial(_tell_later, loop, events)
        budget = request.options.budget
        run = RunContext(
            on_event=tell,
            loop=loop,
            max_text_chars=self.limits.text_chars,
            budget=budget,
            program_id=request.program_id,
            passed_on=request.options.passed_on(backend),
        )
        run.calls_left = request.calls_left
        run_id = request.run_id or uuid.uuid4().hex
        self._runs[run_id] = run
        root = StreamExecutor(
            backend, request.arguments, request.options.sampling(), stream=request.is_streamed, run=run
        )
        watch: asyncio.Task[None] | None = None
        if on_begin is not None:
            on_begin(root)
        try:
            yield {"event": "started", "run_id": run_id}
            if request.timeout_s is not None:
                run.set_deadline(request.timeout_s)
            if request.graph is not None:
                GraphRun(request.graph, root, dict(request.arguments)).submit()
                run.end()
                run.ret_value.set_result(None)
            else:
                assert request.program is not None
                begin_body(request.program, root, request.arguments)
            watch = asyncio.ensure_future(_finished(run, events))
            while (event := await events.get()) is not None:
                yield {**event, "stream": None, "is_root": event["stream"] == root.sid}
            yield {"event": "done", "run_id": run_id, **_result(request.graph, root)}
        finally:
            del self._runs[run_id]
            run.cancel_by_user()
            if watch is not None:
                watch.cancel()


def _tell_later(
    loop: asyncio.AbstractEventLoop, events: asyncio.Queue[dict[str, Any] | None], event: dict[str, Any]
) -> None:
    loop.call_soon_threadsafe(events.put_nowait, event)


async def _finished(run: RunContext, events: asyncio.Queue[dict[str, Any] | None]) -> None:
    """Ends the events when no stream has anything to do: a branch may outlive its parent."""
    await asyncio.wrap_future(settled(run.ret_value))
    for stream in run.streams():
        await asyncio.wrap_future(stream.sync_future())
    events.put_nowait(None)


def _result(graph: ProgramGraph | None, root: StreamExecutor) -> dict[str, Any]:
    """Text, messages and values of the root. Raises what it failed with."""
    bug = root.run.ret_value.exception()
    if bug is not None and not isinstance(bug, RadixlangError):
        logger.error("a published program failed", exc_info=bug)
        raise RadixlangError(f"the program failed: {type(bug).__name__}: {bug}", code="program_failed") from bug
    if root.error_ is not None:
        raise told_error(root.error_)
    variables: dict[str, Any] = {}
    errors: dict[str, Any] = {}
    meta: dict[str, Any] = {}
    wanted = set(graph.outputs) if graph is not None else set[str]()
    for name, slot in root.slots.items():
        if not name or (name not in wanted and wanted):
            continue
        if not slot.future.done():
            errors[name] = f"{name!r} was not made known"
            continue
        failure = slot.future.exception()
        if failure is not None:
            errors[name] = str(failure)
            continue
        missing: dict[str, str] = {}
        variables[name] = _jsonable(_plain(slot.future.result(), "", missing))
        if missing:
            errors[name] = missing
        if slot.meta is not None:
            meta[name] = slot.meta
    returned = root.run.ret_value.result()
    return {
        **({} if returned is None else {"result": _jsonable(returned)}),
        "variables": variables,
        "errors": errors,
        "text": root.text_,
        "messages": root.messages_,
        "meta_info": meta,
        "usage": root.run.usage.counts(),
    }


def _plain(value: Any, path: str, errors: dict[str, str]) -> Any:
    """`value` for JSON: null where a branch failed, and why in `errors`, by the indices that lead there ("1.0")."""
    if not isinstance(value, list):
        return value
    failed = value.errors if isinstance(value, GatheredList) else {}
    errors.update({f"{path}{i}": str(error) for i, error in failed.items()})
    return [None if i in failed else _plain(value[i], f"{path}{i}.", errors) for i in range(len(value))]


def _jsonable(value: Any) -> Any:
    """`value` as JSON has it; what JSON does not know becomes its text."""
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    return msgspec.to_builtins(value, enc_hook=str)


def told_error(error: ProgramError) -> RadixlangError:
    """A failed program as an API tells it: the engine's own error where that is the cause."""
    if isinstance(error.__cause__, RadixlangError):
        return error.__cause__
    if isinstance(error, ProgramTimeout):
        return Aborted(str(error), code="timeout")
    code = next((code for kind, code in ERROR_CODES.items() if isinstance(error, kind)), "program_error")
    return RequestError(str(error), code=code)
