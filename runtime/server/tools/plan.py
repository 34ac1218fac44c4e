"""Tools of a chat request: which there are, whether one must be called, and the calls in what the model writes.

A choice is a constraint, not a hint: with `required` or a named tool the model can write nothing but calls. With
`auto` it writes freely, and calls are read out of its text; where a tool is strict, or answers without a call have a
format, each call that it begins is constrained.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import Any

from ....constrained.fields import FoundConstraint
from ....errors import RequestError
from ....lang.reasoning import ReasoningTags
from .forms import HERMES, ToolForm
from .grammar import CallGrammar, check_schema
from .parsers import Parsed, ToolCall, parse
from .reader import BETWEEN, CallReader

MAX_TOOLS = 4096
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")


@dataclass(slots=True)
class ToolPlan:
    """What a request's tools mean for prompt, constraint and reading."""

    tools: list[dict[str, Any]]
    """As the chat template takes them."""
    form: ToolForm
    schemas: dict[str, dict[str, Any]]
    """Of the arguments, by the tools' names."""
    is_parallel: bool
    """Whether more than one call may be made."""
    grammar: CallGrammar | None
    """What the answer's calls obey; None: none, they are read out of free text."""
    shown_thought: ReasoningTags | None = None
    """The answer's thought, where that is told with the answer's text."""
    is_thinking: bool = False
    """The prompt ends within it."""

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self.schemas)

    @property
    def parser(self) -> str:
        """What reads calls out of free text."""
        return "pythonic" if self.form.style == "python" else "auto"

    def answer_in(self, found: FoundConstraint) -> None:
        """An answer without calls is what the request asks for beside its tools."""
        self.grammar = CallGrammar(self.form, self.schemas, self.is_parallel, False, found)


def plan_tools(
    tools: Any,
    choice: Any,
    *,
    form: ToolForm = HERMES,
    is_parallel: bool | None = None,
    schema_path: str = "function.parameters",
) -> ToolPlan | None:
    """None: no tools are in play. Raises RequestError naming the field, GrammarError for a schema that must be obeyed.

    `form`: how the model writes calls; `is_parallel`: false allows one, and true several where one must be made;
    `schema_path`: where a tool has its schema.
    """
    checked = _tools(tools)
    names: dict[str, dict[str, Any]] = {}
    for index, tool in enumerate(checked):
        function = tool["function"]
        if names.setdefault(function["name"], function) != function:
            raise RequestError(f"two tools are called {function['name']!r}", param=f"tools.{index}.function.name")
    places = {t["function"]["name"]: index for index, t in enumerate(checked)}
    wanted: set[str] | None = None
    if isinstance(choice, dict):
        function = choice.get("function")
        name = function.get("name") if isinstance(function, dict) else choice.get("name")
        if choice.get("type") != "function" or not isinstance(name, str):
            raise RequestError('tool_choice must be {"type": "function", "function": {"name": …}}', param="tool_choice")
        if name not in names:
            raise RequestError(f"tool_choice names {name!r}, which is not among the tools", param="tool_choice")
        wanted = {name}
    elif choice in ("required", "any"):
        if not checked:
            raise RequestError("tool_choice required needs tools", param="tool_choice")
        wanted = set(names)
    elif choice not in (None, "auto", "none"):
        raise RequestError('tool_choice must be "none", "auto", "required" or a function', param="tool_choice")
    if not checked or choice == "none":
        return None
    stricts = {t["function"]["name"] for t in tools if _is_strict(t)}
    schemas: dict[str, dict[str, Any]] = {}
    for name, function in names.items():
        schemas[name] = {"type": "object"}
        if name in stricts or (wanted is not None and name in wanted):
            schemas[name] = {**(function.get("parameters") or {}), "type": "object"}
            check_schema(schemas[name], f"tools.{places[name]}.{schema_path}", form, is_strict=name in stricts)
    grammar = None
    if wanted is not None:
        asked = {name: schemas[name] for name in names if name in wanted}
        grammar = CallGrammar(form, asked, is_parallel is True and len(wanted) > 1, True)
    elif stricts or form.channels is not None:
        grammar = CallGrammar(form, schemas, is_parallel is not False, False)
    return ToolPlan(checked, form, schemas, is_parallel is not False, grammar)


def _is_strict(tool: dict[str, Any]) -> bool:
    return tool.get("strict") is True or tool["function"].get("strict") is True


def _tools(tools: Any) -> list[dict[str, Any]]:
    if tools is None:
        return []
    if not isinstance(tools, list):
        raise RequestError("tools must be a list", param="tools")
    if len(tools) > MAX_TOOLS:
        raise RequestError(f"at most {MAX_TOOLS} tools, found {len(tools)}", param="tools")
    checked: list[dict[str, Any]] = []
    for index, tool in enumerate(tools):
        path = f"tools.{index}"
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(tool, dict) or tool.get("type", "function") != "function" or not isinstance(function, dict):
            raise RequestError(f'{path} must be {{"type": "function", "function": {{…}}}}', param=path)
        name = function.get("name")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise RequestError(f"{path}.function.name must be letters, digits, _ . -", param=f"{path}.function.name")
        for holder, where in ((tool, path), (function, f"{path}.function")):
            if not isinstance(holder.get("strict"), bool | None):
                raise RequestError(f"{where}.strict must be true or false", param=f"{where}.strict")
        parameters = function.get("parameters")
        if parameters is not None and not isinstance(parameters, dict):
            raise RequestError(f"{path}.function.parameters must be a schema", param=f"{path}.function.parameters")
        if "object" not in (
            (kind := (parameters or {}).get("type", "object")),
            *(kind if isinstance(kind, list) else ()),
        ):
            where = f"{path}.function.parameters.type"
            raise RequestError(f"{where} must be object: arguments have names", param=where)
        checked.append({"type": "function", "function": function})
    return checked


def read(text: str, plan: ToolPlan | None) -> Parsed:
    """The text and the calls of a finished answer; without calls all of it is text."""
    if plan is None:
        return Parsed(text, [])
    if plan.grammar is None:
        parsed = parse(text, plan.parser, plan.names)
        return parsed if parsed.calls else Parsed(text, [])
    reader, said = CallReader(plan.grammar, plan.shown_thought, is_open=plan.is_thinking), ""
    calls: list[ToolCall] = []
    for piece in (*reader.push(text), *reader.finish()):
        said += piece.text
        if piece.name:
            calls.append(ToolCall(piece.name, ""))
        elif piece.arguments:
            calls[-1] = ToolCall(calls[-1].name, calls[-1].arguments + piece.arguments)
    return Parsed(said.strip(BETWEEN) if calls else said, calls)


def call_object(call: ToolCall, **more: Any) -> dict[str, Any]:
    """OpenAI's tool call, under a new id."""
    return {
        **more,
        "id": f"call_{uuid.uuid4().hex[:24]}",
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }
