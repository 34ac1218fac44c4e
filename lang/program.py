"""What @function makes: a program that can be run once, over a batch, streamed, bound and traced."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .global_config import resolve_backend
from .ir import SglInline
from .run_context import current_run
from .run_options import BATCH_OPTIONS, RUN_OPTIONS, RunOptions

if TYPE_CHECKING:
    from .backend.base_backend import BaseBackend
    from .compiler import CompiledProgram
    from .state import ProgramState
    from .tracer import TracerProgramState


class SglFunction:
    """A program. Calling it is `run`; inside a trace, `trace`."""

    def __init__(
        self,
        func: Callable[..., Any],
        num_api_spec_tokens: int | None = None,
        bind_arguments: dict[str, Any] | None = None,
    ) -> None:
        self.func = func
        self.num_api_spec_tokens = num_api_spec_tokens
        self.bind_arguments = dict(bind_arguments or {})
        self.is_async = inspect.iscoroutinefunction(func)
        self.signature = inspect.signature(func)
        parameters = list(self.signature.parameters.values())
        assert [p.name for p in parameters[:1]] == ["s"], 'The first argument must be "s"'
        self.arg_names = [p.name for p in parameters[1:] if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        self.arg_defaults = [p.default for p in parameters[1:] if p.default is not p.empty]
        self.__name__ = getattr(func, "__name__", "program")
        self.__doc__ = func.__doc__

    def __repr__(self) -> str:
        return f"<program {self.__name__}{self.signature}>"

    def bind(self, **kwargs: Any) -> SglFunction:
        """A new program with these arguments given; arguments of a call beat them."""
        unknown = [name for name in kwargs if name not in self.arg_names]
        assert not unknown, f"{self.__name__} has no argument {', '.join(unknown)}"
        return SglFunction(self.func, self.num_api_spec_tokens, {**self.bind_arguments, **kwargs})

    def call_arguments(self, args: Sequence[Any], kwargs: dict[str, Any]) -> inspect.BoundArguments:
        """The body's arguments but `s`. TypeError as a call of the body would raise."""
        positional = set(self.arg_names[: len(args)])
        bound = {name: value for name, value in self.bind_arguments.items() if name not in positional}
        try:
            return self.signature.bind(None, *args, **{**bound, **kwargs})
        except TypeError as error:
            raise TypeError(f"{self.__name__}(): {error}") from None

    def split(self, kwargs: dict[str, Any]) -> tuple[dict[str, Any], RunOptions]:
        """A call's keywords: the program's own arguments, and the run's options. The program's own names win."""
        own = {k: v for k, v in kwargs.items() if k in self.arg_names or k not in RUN_OPTIONS}
        return own, RunOptions({k: v for k, v in kwargs.items() if k not in own})

    def run(self, *args: Any, **kwargs: Any) -> ProgramState:
        """Runs the body in the caller's thread and returns when it ends; generation goes on behind.

        Keywords are the program's arguments and the options of `RUN_OPTIONS`: sampling (max_new_tokens=128, n=1, stop,
        temperature=1.0 …), stream=False, backend=None, use_thread=True, and timeout, retries, budget, on_event, seed.
        With stream=True the body runs beside the caller.
        """
        from .interpreter import run_program

        own, options = self.split(kwargs)
        return run_program(self, resolve_backend(options.backend), args, own, options)

    def run_batch(
        self, batch_kwargs: Sequence[dict[str, Any] | Sequence[Any]], **options: Any
    ) -> list[ProgramState] | Iterator[ProgramState]:
        """Runs the program once for each entry (a dict, or a tuple in the order of the parameters); order is kept.

        Beside the options of run: num_threads="auto" (programs in flight at once), progress_bar=False,
        generator_style=False (yields states in order), as_completed=False (yields (index, state) as they finish),
        on_error="raise" ("state": a bug in a body stays in its state).
        """
        from .batch import run_batch

        states: list[ProgramState] | Iterator[ProgramState] = run_batch(self, batch_kwargs, options)
        return states

    async def arun(self, *args: Any, **kwargs: Any) -> ProgramState:
        """As run, for asyncio: returns when the program has finished. Cancelling the task cancels the program."""
        from .async_run import arun

        return await arun(self, args, kwargs)

    async def arun_batch(
        self, batch_kwargs: Sequence[dict[str, Any] | Sequence[Any]], *, max_concurrency: int = 256, **options: Any
    ) -> list[ProgramState]:
        """As run_batch, for asyncio, at most `max_concurrency` programs at once."""
        from .async_run import arun_batch

        return await arun_batch(self, batch_kwargs, max_concurrency, options)

    def astream(self, *args: Any, var: str | None = None, **kwargs: Any) -> AsyncIterator[str]:
        """Pieces of the text, or of the variable `var`, as they come."""
        state = self.run(*args, stream=True, **kwargs)
        return state.text_async_iter(var)

    def inline(self, *args: Any, into: str | None = None, **kwargs: Any) -> SglInline:
        """An expression: this body, run on the state that it is appended to; `into`: the name its names lie under."""
        call = self.call_arguments(args, kwargs)

        def body(state: ProgramState) -> Any:
            return self.func(state, *call.args[1:], **call.kwargs)

        body.__name__ = self.__name__
        return SglInline(body, into)

    def trace(self, *, backend: BaseBackend | None = None, **kwargs: Any) -> TracerProgramState:
        """The program's expressions without running them; arguments that are not given stay symbols."""
        from .tracer import trace_program

        return trace_program(self, kwargs, backend)

    def compile(
        self,
        *,
        mode: str = "auto",
        outputs: Sequence[str] | None = None,
        backend: BaseBackend | None = None,
        **kwargs: Any,
    ) -> CompiledProgram:
        """The program as a graph that runs without its Python; `kwargs` are arguments that are fixed.

        mode="graph": TraceError, with the line, where the body needs a value that only a run has. "auto": such a
        program is interpreted at run. outputs: the only values that are wanted; what they do not need is not run.
        """
        from .compiler import compile_program

        return compile_program(self, mode, outputs, backend, kwargs)

    def cache(self, backend: BaseBackend | None = None) -> None:
        """Has the backend compute the program's constant prefix, if that is longer than 64 characters."""
        from .tracer import cache_program

        cache_program(self, resolve_backend(backend))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As run. In another program's body: a part of that run, with its backend and its sampling where the call says
        nothing; in a trace, a part of its graph."""
        from .tracer import current_trace

        tracer, caller = current_trace(), current_run()
        if tracer is not None:
            return tracer.call(self, args, kwargs)
        passed_on = {} if caller is None else caller.passed_on
        return self.run(*args, **{**{k: v for k, v in passed_on.items() if k not in self.arg_names}, **kwargs})


def _signature(fixed: list[inspect.Parameter], options: dict[str, Any], *, variadic: bool) -> inspect.Signature:
    """What editors and help() show of a method whose keywords are options and a program's own arguments."""
    keywords = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=options[name]) for name in options]
    rest = [inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)] if variadic else []
    return inspect.Signature([*fixed, *keywords, *rest])


_SELF = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
_ARGS = inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL)
_ENTRIES = inspect.Parameter("batch_kwargs", inspect.Parameter.POSITIONAL_OR_KEYWORD)
_PER_RUN = {name: value for name, value in RUN_OPTIONS.items() if name not in ("stream", "use_thread")}
vars(SglFunction)["run"].__signature__ = _signature([_SELF, _ARGS], RUN_OPTIONS, variadic=True)
vars(SglFunction)["run_batch"].__signature__ = _signature(
    [_SELF, _ENTRIES], {**_PER_RUN, **BATCH_OPTIONS}, variadic=False
)
