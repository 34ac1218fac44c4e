"""Running programs: the body extends streams, and the streams run behind it."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .backend.base_backend import BaseBackend
from .group import ProgramStateGroup
from .run_context import body_of
from .run_options import RunOptions
from .state import ProgramState
from .stream_executor import StreamExecutor
from .waiting import stream_bodies

if TYPE_CHECKING:
    from .program import SglFunction

__all__ = [
    "ProgramState",
    "ProgramStateGroup",
    "StreamExecutor",
    "cancelled_if_raised",
    "ending_run",
    "new_state",
    "run_body",
    "run_program",
]


def new_state(
    program: SglFunction, backend: BaseBackend, arguments: dict[str, Any], options: RunOptions
) -> ProgramState:
    """The root state of a run."""
    return ProgramState(
        StreamExecutor(
            backend,
            arguments,
            options.sampling(),
            stream=options.stream,
            num_api_spec_tokens=program.num_api_spec_tokens,
            use_thread=options.use_thread,
            run=options.run_context(backend),
        )
    )


@contextlib.contextmanager
def ending_run(state: ProgramState) -> Iterator[Callable[[Any], None]]:
    """Around a body, which calls what it is given with its value; an error ends the run's streams and goes on."""
    stream = state.stream_executor
    value: list[Any] = []
    try:
        with body_of(stream.run):
            yield value.append
    except BaseException as error:
        stream.fail(error)
        stream.run.end()
        stream.run.ret_value.set_exception(error)
        stream.notify()
        raise
    stream.run.end()
    stream.run.ret_value.set_result(value[0])
    stream.notify()


@contextlib.contextmanager
def cancelled_if_raised(state: ProgramState) -> Iterator[None]:
    """Around what gives `state` to the caller: where that raises, nobody can read what still runs."""
    try:
        yield
    except BaseException:
        state.cancel()
        raise


def run_body(program: SglFunction, state: ProgramState, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
    """Runs the body; what it raises ends the run's streams and is raised again."""
    with ending_run(state) as value_of:
        value_of(program.func(state, *args, **kwargs))


def run_program(
    program: SglFunction, backend: BaseBackend, args: Sequence[Any], kwargs: dict[str, Any], options: RunOptions
) -> ProgramState:
    """Runs `program` and returns its state; see SglFunction.run."""
    call = program.call_arguments(args, kwargs)
    if program.is_async:
        from .async_run import run_blocking

        return run_blocking(program, backend, call, options)
    state = new_state(program, backend, call.arguments, options)
    if not options.stream:
        with cancelled_if_raised(state):
            run_body(program, state, call.args[1:], call.kwargs)
        return state
    stream_bodies.submit(lambda: run_body(program, state, call.args[1:], call.kwargs))
    reader = ProgramState(state.stream_executor, is_reader=True)
    # The body holds its own state: when the reader's is dropped, nobody can see the rest.
    weakref.finalize(reader, state.stream_executor.run.cancel_by_user).atexit = False
    return reader
