"""A published program's own Python, on the streams of a run that a server made."""

from __future__ import annotations

import asyncio
from typing import Any

from ...lang.async_run import run_async_body
from ...lang.interpreter import run_body
from ...lang.loop import background_loop
from ...lang.program import SglFunction
from ...lang.state import ProgramState
from ...lang.stream_executor import StreamExecutor
from ...lang.waiting import batch_bodies


def begin_body(program: SglFunction, root: StreamExecutor, arguments: dict[str, Any]) -> None:
    """Starts the body beside the caller's event loop; it ends the run's streams, and sets what it returned."""
    state = ProgramState(root)
    call = program.call_arguments((), arguments)
    if program.is_async:
        asyncio.run_coroutine_threadsafe(run_async_body(program, state, call), background_loop())
    else:
        batch_bodies.submit(lambda: run_body(program, state, call.args[1:], call.kwargs))
