"""Functions whose body is a prompt and whose result is a typed value."""

from __future__ import annotations

import asyncio
import inspect
import typing
from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

from .api import assistant, gen, user
from .program import SglFunction
from .state import ProgramState

R = TypeVar("R")


class TypedFunction(Generic[R]):
    """Calling it asks the model and gives the value. `program` is what runs; `run` and `arun` give its state."""

    def __init__(self, func: Callable[..., R], gen_options: dict[str, Any]) -> None:
        text = inspect.cleandoc(func.__doc__ or "")
        if not text:
            raise TypeError(f"{func.__name__} needs a docstring: it is the prompt")
        signature = inspect.signature(func)
        kind = typing.get_type_hints(func, include_extras=True).get("return")
        if kind is None:
            raise TypeError(f"{func.__name__} needs a return type: it is what the model must answer")
        names = list(signature.parameters)
        dtype = None if kind is str else kind

        def body(s: ProgramState, **arguments: Any) -> None:
            bound = signature.bind(**arguments)
            bound.apply_defaults()
            s += user(text.format(**bound.arguments)) + assistant(gen("answer", dtype=dtype, **gen_options))

        parameters = [inspect.Parameter("s", inspect.Parameter.POSITIONAL_OR_KEYWORD), *signature.parameters.values()]
        body.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        body.__name__ = func.__name__
        body.__doc__ = func.__doc__
        self.program = SglFunction(_by_name(body, names))
        self.__name__ = func.__name__
        self.__doc__ = func.__doc__
        self.__wrapped__ = func

    def run(self, *args: Any, **kwargs: Any) -> ProgramState:
        """The state of a run; its variable is "answer"."""
        return self.program.run(*args, **kwargs)

    async def arun(self, *args: Any, **kwargs: Any) -> R:
        """The value, for asyncio."""
        state = await self.program.arun(*args, **kwargs)
        return await asyncio.to_thread(lambda: self._value(state))

    def __call__(self, *args: Any, **kwargs: Any) -> R:
        return self._value(self.run(*args, **kwargs))

    @staticmethod
    def _value(state: ProgramState) -> R:
        value: R = state.value("answer")
        return value


def _by_name(body: Callable[..., None], names: list[str]) -> Callable[..., None]:
    """`body` for positional calls, too."""

    def call(s: ProgramState, *args: Any, **kwargs: Any) -> None:
        body(s, **dict(zip(names, args, strict=False)), **kwargs)

    call.__signature__ = inspect.signature(body)  # type: ignore[attr-defined]
    call.__name__ = body.__name__
    call.__doc__ = body.__doc__
    return call


@overload
def typed(func: Callable[..., R]) -> TypedFunction[R]: ...


@overload
def typed(func: None = None, **gen_options: Any) -> Callable[[Callable[..., R]], TypedFunction[R]]: ...


def typed(
    func: Callable[..., R] | None = None, **gen_options: Any
) -> TypedFunction[R] | Callable[[Callable[..., R]], TypedFunction[R]]:
    """Makes a model-backed function: the docstring, with {argument} filled in, asks; the return type is the answer's.

    As a decorator, bare or with gen's options (max_tokens=8, temperature=0 …).
    """
    if func is not None:
        return TypedFunction(func, gen_options)
    return lambda decorated: TypedFunction(decorated, gen_options)
