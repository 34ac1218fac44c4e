"""Expressions of a graph that act beside the model: a gen's calls of tools are run, a kept program is called."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from .backend.base_backend import NativeBackend
from .blocking import backend_threads
from .captured import fill
from .ir import SglAction
from .run_options import SAMPLING_OPTIONS
from .tools import Tool, answer_of, read_calls

if TYPE_CHECKING:
    from .perform import Performer
    from .slot import QueueItem


class SglRunTools(SglAction):
    """Runs the calls in the value of a gen with tools, in threads; each answer is a message of the role tool.

    Its own value: the list of the answers.
    """

    def __init__(self, source: Future[Any], tools: Sequence[Tool]) -> None:
        super().__init__()
        self.source = source
        self.tools = tools

    def __repr__(self) -> str:
        return f"RunTools({[tool.name for tool in self.tools]})"

    async def perform(self, performer: Performer, item: QueueItem) -> None:
        template = await performer.template()
        text = await asyncio.wrap_future(self.source)
        answers = []
        for call in read_calls(str(text), self.tools):
            answers.append(await backend_threads.call(item.context.copy(), lambda call=call: answer_of(call)))  # type: ignore[misc]
        for answer in answers:
            performer.add_message("tool", answer, template)
        item.slots[0].define(answers)


class SglCall(SglAction):
    """Runs the program that the backend keeps under `name`; its own value: that run's values, by name."""

    def __init__(self, name: str, template: dict[str, Any], sources: Sequence[Future[Any]]) -> None:
        """template: of the arguments, with places that `sources` fill, see captured."""
        super().__init__()
        self.name = name
        self.template = template
        self.sources = sources

    def __repr__(self) -> str:
        return f"Call({self.name!r})"

    async def perform(self, performer: Performer, item: QueueItem) -> None:
        """Raises what the called run failed with."""
        stream = performer.stream
        backend = stream.backend
        if not isinstance(backend, NativeBackend):
            raise ConfigError(f"{type(backend).__name__} keeps no programs: it needs a radixlang engine or server")
        values = [await asyncio.wrap_future(source) for source in self.sources]
        given = dataclasses.asdict(stream.default_sampling_para)
        sampling = {k: given[k] for k in SAMPLING_OPTIONS if given[k] is not None and given[k] != SAMPLING_OPTIONS[k]}
        arguments = {name: str(value) for name, value in fill(self.template, values).items()}
        request: dict[str, Any] = {"name": self.name, "args": arguments, "sampling": sampling}
        if stream.run.calls_left is not None:
            request["calls"] = stream.run.calls_left
        if backend.counts_programs:
            request["program_id"] = stream.run.program_id
        events = backend.native_run_program(request)
        result: dict[str, Any] = {}
        try:
            async for event in events:
                if event["event"] == "done":
                    result = event
        finally:
            close = getattr(events, "aclose", None)
            if close is not None:
                await close()
        stream.run.usage.take(result["usage"])
        item.slots[0].define(result["variables"])
