"""Programs of Python files that a server publishes: each a typed route, and a model name of the chat API.

The file is the operator's own and is run when the server starts; what clients send are arguments alone.
"""

from __future__ import annotations

import inspect
import json
import logging
import runpy
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import ConfigError, ModelNotFound, ProgramError, RequestError, TraceError
from ...lang.arguments import arguments_schema
from ...lang.dtype import convert
from ...lang.graph import ProgramGraph
from ...lang.program import SglFunction
from ...lang.symbols import Symbol
from ...lang.tracer import trace_program

logger = logging.getLogger(__name__)

_PLAIN = (str, int, float, bool)


class Published:
    """One program. `graph`: what is run for it; None where it needs its Python. `returned`: the name of the value that
    its body returns, where a trace can see that."""

    def __init__(self, program: SglFunction) -> None:
        self.program = program
        self.name = program.__name__
        self.doc = inspect.cleandoc(program.__doc__ or "")
        self._types = _types_of(program)
        self.graph, self.returned = _graph_of(program, self._types)

    def schema(self) -> dict[str, Any]:
        """Of the arguments, as one JSON object. A parameter without a type is text."""
        parameters = list(self.program.signature.parameters.values())[1:]
        known = [p for p in parameters if p.name in self._types]
        required = [p.name for p in known if p.default is p.empty and p.name not in self.program.bind_arguments]
        schema = arguments_schema({p.name: self._types[p.name] for p in known}, required)
        for parameter in known:
            if parameter.default is not parameter.empty and _is_json(parameter.default):
                schema["properties"][parameter.name]["default"] = parameter.default
        return schema

    def arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as the program's types say. Raises RequestError naming the one that is wrong."""
        unknown = sorted(set(given) - set(self._types))
        if unknown:
            told = ", ".join(self._types) or "none"
            raise RequestError(f"{self.name} has no argument {unknown[0]!r}; it has {told}", param=unknown[0])
        missing = [name for name in self.schema()["required"] if name not in given]
        if missing:
            raise RequestError(f"{self.name} needs the argument {missing[0]!r}", param=missing[0])
        found: dict[str, Any] = {}
        for name, value in given.items():
            try:
                found[name] = _converted(value, self._types[name])
            except (ValueError, TypeError, KeyError) as error:
                raise RequestError(f"{name}: {error}", param=name) from None
        return found

    def of_messages(self, messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The arguments that a conversation means.

        A program with a parameter `messages` gets the whole conversation. Else the last user message is the only
        required argument, or, where there are more, a JSON object of them.
        """
        if "messages" in self._types:
            return self.arguments({"messages": [dict(message) for message in messages]})
        last = next((m for m in reversed(messages) if m.get("role") == "user"), None)
        if last is None:
            raise RequestError(
                f"{self.name} takes its argument from the last user message; there is none", param="messages"
            )
        text = last.get("content")
        if isinstance(text, list):
            text = "".join(part.get("text", "") for part in text if isinstance(part, Mapping))
        text = str(text or "")
        required = self.schema()["required"]
        if len(required) == 1 and self._types[required[0]] is str:
            return self.arguments({required[0]: text})
        if not required:
            return {}
        try:
            data = json.loads(text)
        except json.JSONDecodeError:
            data = None
        if not isinstance(data, dict):
            raise RequestError(
                f"{self.name} takes {', '.join(required)}: send them as a JSON object in the last user message",
                param="messages",
            )
        return self.arguments(data)

    def told(self) -> dict[str, Any]:
        """For GET /v1/programs."""
        outputs = self.graph.outputs if self.graph is not None else None
        return {
            "object": "program",
            "name": self.name,
            "description": self.doc,
            "arguments": self.schema(),
            "inputs": list(self._types),
            "outputs": outputs,
            "is_graph": self.graph is not None,
        }


def load(files: Sequence[str]) -> dict[str, Published]:
    """All programs of Python files, by name. Raises ConfigError for a file that fails, is empty or repeats a name."""
    found: dict[str, Published] = {}
    for file in files:
        if not Path(file).is_file():
            raise ConfigError(f"there is no file {file}", param="programs")
        try:
            names = runpy.run_path(file)
        except Exception as error:
            raise ConfigError(f"{file} failed: {type(error).__name__}: {error}", param="programs") from error
        programs = {v.__name__: v for v in names.values() if isinstance(v, SglFunction)}
        if not programs:
            raise ConfigError(f"{file} has no @function programs", param="programs")
        for name, program in programs.items():
            if name in found:
                raise ConfigError(f"two programs are called {name}", param="programs")
            found[name] = Published(program)
    return found


def published_of(programs: Mapping[str, Published], name: str) -> Published:
    """Raises ModelNotFound."""
    found = programs.get(name)
    if found is None:
        told = ", ".join(programs) or "none"
        raise ModelNotFound(f"no program {name!r} is published here; there are: {told}", code="program_not_found")
    return found


def _types_of(program: SglFunction) -> dict[str, Any]:
    """Of each parameter but `s`; str where none is said."""
    try:
        hints = typing.get_type_hints(program.func, include_extras=True)
    except (NameError, TypeError):  # annotations that only a type checker can see
        hints = {}
    return {name: hints.get(name, Any if name == "messages" else str) for name in program.arg_names}


def _graph_of(program: SglFunction, types: Mapping[str, Any]) -> tuple[ProgramGraph | None, str | None]:
    """The traced program, if it is one whose run needs no Python: text in, values out, nothing returned. And the name
    of the root's value that is returned, if that is what the trace says."""
    if program.is_async or any(kind not in _PLAIN and not _is_text(kind) for kind in types.values()):
        return None, None
    try:
        state = trace_program(program, {})
        state.graph.refuse_code("a server's graph")
        state.graph.to_json()
    except (ProgramError, TraceError, TypeError, ValueError, AttributeError) as error:
        logger.info("%s is run by its Python: %s", program.__name__, error)
        return None, None
    if isinstance(state.ret_value, Symbol):
        node = state.graph.nodes[state.ret_value.node]
        return None, node.params.get("name") if node.kind == "gen" and node.stream == 0 else None
    has_defaults = len(state.graph.inputs) < len(program.arg_names)
    return None if state.ret_value is not None or has_defaults else state.graph, None


def _is_text(kind: Any) -> bool:
    return typing.get_origin(kind) is typing.Literal and all(isinstance(one, str) for one in typing.get_args(kind))


def _is_json(value: Any) -> bool:
    return value is None or isinstance(value, (str, int, float, bool))


def _converted(value: Any, kind: Any) -> Any:
    if kind is str and isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    return convert(value, kind)
