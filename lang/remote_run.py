"""A whole program as one request: the graph goes to where the model is, and its values come back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import BudgetExceeded, Cancelled, ProgramError, ProgramTimeout, RadixlangError
from .group import GatheredList
from .ir import SglAction

if TYPE_CHECKING:
    from .backend.base_backend import NativeBackend
    from .perform import Performer
    from .slot import QueueItem
    from .stream_executor import StreamExecutor
    from .tools import Tool


ERROR_CODES: dict[type[ProgramError], str] = {
    BudgetExceeded: "budget_exceeded",
    Cancelled: "program_cancelled",
    ProgramTimeout: "timeout",
}
"""What an API calls the ways a program ends early."""


class RemoteRun(SglAction):
    """Appended to an empty stream, it fills it: text, messages and values are those of the run."""

    def __init__(
        self, request: dict[str, Any], names: list[str], types: dict[str, Any], tools: dict[str, list[Tool]]
    ) -> None:
        super().__init__()
        self.request = request
        self.names = names
        """Names that the run is known to define; others come with its end."""
        self.types = types
        self.tools = tools
        """Of gens with tools, by name."""

    def __repr__(self) -> str:
        return "RemoteRun()"

    async def perform(self, performer: Performer, item: QueueItem) -> None:
        """Sends the request and takes what comes. Raises what the run failed with."""
        stream = performer.stream
        backend: NativeBackend = stream.backend  # type: ignore[assignment]  # run_remote has checked it
        result: dict[str, Any] | None = None
        events = backend.native_run_program(self.request)
        try:
            async for event in events:
                if event["event"] == "piece":
                    self._piece(stream, event)
                if event["event"] == "done":
                    result = event
                elif event["event"] != "started":
                    stream.run.relay({**event, "stream": stream.sid if event.get("is_root") else None})
        except RadixlangError as error:
            kind = next((kind for kind, code in ERROR_CODES.items() if code == error.code), None)
            if kind is None:
                raise
            raise kind(error.message) from error
        finally:
            close = getattr(events, "aclose", None)
            if close is not None:
                await close()
        if result is None:
            raise ProgramError("the server ended the run without a result")
        self._finish(stream, result)

    def _piece(self, stream: StreamExecutor, event: dict[str, Any]) -> None:
        slot = stream.slots.get(event.get("name") or "")
        if slot is not None and event.get("is_root"):
            slot.started = True
            slot.pieces.append((str(event["text"]), {}))
            stream.notify()

    def _finish(self, stream: StreamExecutor, result: dict[str, Any]) -> None:
        stream.text_ = result["text"]
        stream.messages_ = result["messages"]
        metas = result["meta_info"]
        stream.run.usage.take(result["usage"])
        for name, value in result["variables"].items():
            value = _with_errors(value, result["errors"].get(name) or {})
            slot = stream.slots.get(name)
            if slot is None:
                stream.set_var(name, value)
                slot = stream.slots[name]
            stream.variables[name] = value
            if metas.get(name) is not None:
                stream.meta_info[name] = metas[name]
            slot.define(value, metas.get(name))
        for name in self.names:
            told = result["errors"].get(name, f"the run did not define {name!r}")
            if name not in result["variables"]:
                stream.drop(stream.slots[name], str(told))


def _with_errors(value: Any, errors: dict[str, str]) -> Any:
    """A list whose failed places raise when they are read; `errors`: by indices, such as "1.0"."""
    if not isinstance(value, list) or not errors:
        return value
    below: dict[int, dict[str, str]] = {}
    own: dict[int, BaseException] = {}
    for path, told in errors.items():
        index, _, rest = path.partition(".")
        if rest:
            below.setdefault(int(index), {})[rest] = told
        else:
            own[int(index)] = ProgramError(told)
    return GatheredList([_with_errors(item, below.get(i, {})) for i, item in enumerate(value)], own)
