"""Tools: Python functions that a model may call, as schemas, as a constraint, and as calls read from its text."""

from __future__ import annotations

import inspect
import json
import re
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ProgramError
from .arguments import arguments_schema
from .dtype import convert

BEGIN, END = "<tool_call>", "</tool_call>"
"""Around a call where the model is free to write none."""


class Tool:
    """A function with its schema. Calling it calls the function."""

    def __init__(self, func: Callable[..., Any]) -> None:
        self.func = func
        self.name = str(getattr(func, "__name__", "tool"))
        self.__name__ = self.name
        self.__doc__ = func.__doc__
        self.description = inspect.cleandoc(func.__doc__ or "")
        self.signature = inspect.signature(func)
        self.hints = typing.get_type_hints(func, include_extras=True)
        for name, parameter in self.signature.parameters.items():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
                raise TypeError(f"{self.name}: a tool's parameters have names; {parameter} has none")
            if name not in self.hints:
                raise TypeError(f"{self.name}: the parameter {name!r} needs a type")
        required = [n for n, p in self.signature.parameters.items() if p.default is p.empty]
        self.parameters = arguments_schema({n: self.hints[n] for n in self.signature.parameters}, required)
        """JSON schema of the arguments."""

    def __repr__(self) -> str:
        return f"<tool {self.name}{self.signature}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.func(*args, **kwargs)

    def schema(self) -> dict[str, Any]:
        """As OpenAI's API and chat templates take a function."""
        return {"name": self.name, "description": self.description, "parameters": self.parameters}

    def call_schema(self) -> dict[str, Any]:
        """What the JSON of a call looks like."""
        arguments = self.parameters
        if "$defs" in arguments:  # references in them go on meaning these
            arguments = {"$id": f"tool:{self.name}", **arguments}
        return {
            "type": "object",
            "properties": {"name": {"const": self.name}, "arguments": arguments},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }

    def run(self, arguments: dict[str, Any]) -> Any:
        """The function's value; arguments are converted to its types."""
        return self.func(**{name: convert(value, self.hints[name]) for name, value in arguments.items()})


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that a model wrote."""

    tool: Tool
    arguments: dict[str, Any]

    @property
    def name(self) -> str:
        return self.tool.name

    def run(self) -> Any:
        return self.tool.run(self.arguments)


def tool(func: Callable[..., Any]) -> Tool:
    """Makes a tool of a function: its name, docstring and annotated parameters are what a model is told."""
    return Tool(func)


def as_tools(tools: Sequence[Tool | Callable[..., Any]]) -> list[Tool]:
    """Tools; plain functions are made such. ValueError for none, or for two of one name."""
    made = [one if isinstance(one, Tool) else Tool(one) for one in tools]
    if not made or len({one.name for one in made}) < len(made):
        raise ValueError("tools are one or more functions of different names")
    return made


def tool_fields(tools: Sequence[Tool], choice: str) -> dict[str, str]:
    """The sampling field that makes a generation obey: a call and nothing else, or text with well-formed calls."""
    if choice == "none":
        return {}
    if choice == "auto":
        schema = {"anyOf": [one.call_schema() for one in tools]} if len(tools) > 1 else tools[0].call_schema()
        structures = [{"begin": BEGIN, "schema": schema, "end": END}]
        return {"structural_tag": json.dumps({"structures": structures, "triggers": [BEGIN]})}
    wanted = [one for one in tools if choice in ("required", one.name)]
    if not wanted:
        known = ", ".join(one.name for one in tools)
        raise ValueError(f"tool_choice is auto, required, none or a tool's name, not {choice!r}; the tools: {known}")
    schemas = [one.call_schema() for one in wanted]
    return {"json_schema": json.dumps(schemas[0] if len(schemas) == 1 else {"anyOf": schemas})}


def read_calls(text: str, tools: Sequence[Tool]) -> list[ToolCall]:
    """The calls in what a model wrote, in order. ProgramError for one that is cut off or names no tool."""
    pieces = re.findall(rf"{BEGIN}(.*?)(?:{END}|\Z)", text, re.DOTALL)
    if not pieces and text.lstrip().startswith("{"):
        pieces = [text]
    known = {one.name: one for one in tools}
    calls = []
    for piece in pieces:
        try:
            data = json.loads(piece)
            calls.append(ToolCall(known[data["name"]], dict(data["arguments"])))
        except (ValueError, KeyError, TypeError) as error:
            raise ProgramError(f"{piece.strip()!r} is no call of a tool; was it cut by max_tokens?") from error
    return calls


def tool_prompt(tools: Sequence[Tool | Callable[..., Any]]) -> str:
    """A text that tells a model of `tools` and how to call them, for a system message."""
    listed = "\n".join(json.dumps(one.schema(), ensure_ascii=False) for one in as_tools(tools))
    return (
        f"You may call these functions:\n{listed}\n"
        f'To call one, write {BEGIN}{{"name": <name>, "arguments": <object>}}{END} and nothing else.'
    )


def answer_of(call: ToolCall) -> str:
    """What the model is told of a call: the tool's value as text or JSON, or what it raised."""
    try:
        value = call.run()
    except Exception as error:
        return f"error: {type(error).__name__}: {error}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
