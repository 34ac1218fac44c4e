"""Programs for asyncio: `async def` bodies, and awaiting programs without a thread each."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .at_once import at_once
from .backend.base_backend import BaseBackend
from .global_config import resolve_backend
from .interpreter import cancelled_if_raised, ending_run, new_state, run_body
from .loop import background_loop, is_loop_thread
from .run_options import RunOptions
from .state import ProgramState
from .waiting import stream_bodies, wait

if TYPE_CHECKING:
    from .program import SglFunction


async def run_async_body(program: SglFunction, state: ProgramState, call: inspect.BoundArguments) -> None:
    """As interpreter.run_body, for an `async def` body."""
    with ending_run(state) as value_of:
        value_of(await program.func(state, *call.args[1:], **call.kwargs))


async def arun(program: SglFunction, args: Sequence[Any], kwargs: dict[str, Any]) -> ProgramState:
    """See SglFunction.arun."""
    own, options = program.split(kwargs)
    call = program.call_arguments(args, own)
    state = new_state(program, resolve_backend(options.backend), call.arguments, options)
    with cancelled_if_raised(state):
        if program.is_async:
            await run_async_body(program, state, call)
        else:
            body = stream_bodies.submit(lambda: run_body(program, state, call.args[1:], call.kwargs))
            await asyncio.wrap_future(body)
        await asyncio.wrap_future(state.stream_executor.sync_future())
    return state


async def arun_batch(
    program: SglFunction, entries: Sequence[Any], max_concurrency: int, options: dict[str, Any]
) -> list[ProgramState]:
    """See SglFunction.arun_batch."""
    from .batch import named_arguments

    runs = (arun(program, (), {**options, **kwargs}) for kwargs in named_arguments(program, entries))
    return await at_once(runs, width=max_concurrency)


def run_blocking(
    program: SglFunction, backend: BaseBackend, call: inspect.BoundArguments, options: RunOptions
) -> ProgramState:
    """An `async def` program from ordinary code: its body runs on the language's loop. Waits unless it streams."""
    if is_loop_thread():
        raise RuntimeError("await program.arun(...) inside asynchronous code")
    state = new_state(program, backend, call.arguments, options)
    context = contextvars.copy_context()
    body = context.run(asyncio.run_coroutine_threadsafe, run_async_body(program, state, call), background_loop())
    if not options.stream:
        with cancelled_if_raised(state):
            wait(body)
        return state
    return ProgramState(state.stream_executor, is_reader=True)
