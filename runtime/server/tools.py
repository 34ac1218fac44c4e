"""Tools of a chat request: which there are, whether one must be called, and the calls in what the model writes.

A choice is a constraint, not a hint: with `required` or a named tool the model can write nothing but a call. With
`auto` it writes freely, and calls are read out of its text; where a tool is strict, each call that it begins is
constrained.
"""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass
from typing import Any

from ...constrained.constraint import JsonSchema
from ...constrained.fields import FoundConstraint
from ...errors import RequestError
from .tool_forms import HERMES, FormReader, Piece, StrictTools, ToolForm, strict_schema
from .tool_parsers import Parsed, ToolCall, parse

MAX_TOOLS = 4096
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_FORCED_HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*')
_WHOLE_MARKERS = ("{", "[", "<|python_tag|>")
_BETWEEN = " \t\n;"
"""What may stand between calls and is no text."""
_TAG, _END = "<tool_call>", "</tool_call>"


@dataclass(slots=True)
class ToolPlan:
    """What a request's tools mean for prompt, constraint and reading."""

    tools: list[dict[str, Any]]
    """As the chat template takes them."""
    names: frozenset[str]
    forced: FoundConstraint | None
    """The constraint of `required` or a named tool."""
    strict: StrictTools | None
    """What constrains the calls of `auto`; None: no tool is strict."""


def plan_tools(
    tools: Any,
    choice: Any,
    *,
    form: ToolForm = HERMES,
    is_parallel: bool | None = None,
    schema_path: str = "function.parameters",
) -> ToolPlan | None:
    """None: no tools are in play. Raises RequestError naming the field, GrammarError for the schema of a strict tool.

    `form`: how the model writes calls; `is_parallel`: false allows one; `schema_path`: where a tool has its schema.
    """
    checked = _tools(tools)
    names = {t["function"]["name"]: t["function"] for t in checked}
    wanted: list[str] | None = None
    if isinstance(choice, dict):
        function = choice.get("function")
        name = function.get("name") if isinstance(function, dict) else choice.get("name")
        if choice.get("type") != "function" or not isinstance(name, str):
            raise RequestError('tool_choice must be {"type": "function", "function": {"name": …}}', param="tool_choice")
        if name not in names:
            raise RequestError(f"tool_choice names {name!r}, which is not among the tools", param="tool_choice")
        wanted = [name]
    elif choice in ("required", "any"):
        if not checked:
            raise RequestError("tool_choice required needs tools", param="tool_choice")
        wanted = list(names)
    elif choice not in (None, "auto", "none"):
        raise RequestError('tool_choice must be "none", "auto", "required" or a function', param="tool_choice")
    if not checked or choice == "none":
        return None
    stricts = {t["function"]["name"] for t in tools if _is_strict(t)}
    for index, tool in enumerate(checked):
        if _is_strict(tools[index]):
            strict_schema(_arguments_schema(tool["function"], is_strict=True), f"tools.{index}.{schema_path}")
    forced = strict = None
    if wanted is not None:
        schema = (
            {"anyOf": [_call_schema(names[name]) for name in wanted]}
            if len(wanted) > 1
            else _call_schema(names[wanted[0]])
        )
        forced = FoundConstraint(JsonSchema(json.dumps(schema, ensure_ascii=False)), "tools")
    elif stricts:
        schemas = {name: _arguments_schema(f, is_strict=name in stricts) for name, f in names.items()}
        strict = StrictTools(form, schemas, is_parallel is not False)
    return ToolPlan(checked, frozenset(names), forced, strict)


def _is_strict(tool: dict[str, Any]) -> bool:
    return tool.get("strict") is True or tool["function"].get("strict") is True


def _arguments_schema(function: dict[str, Any], *, is_strict: bool) -> dict[str, Any]:
    return {"type": "object", **(function.get("parameters") or {})} if is_strict else {"type": "object"}


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
        parameters = function.get("parameters")
        if parameters is not None and not isinstance(parameters, dict):
            raise RequestError(f"{path}.function.parameters must be a schema", param=f"{path}.function.parameters")
        checked.append({"type": "function", "function": function})
    return checked


def _call_schema(function: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "name": {"const": function["name"]},
            "arguments": function.get("parameters") or {"type": "object"},
        },
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def with_tool_text(messages: list[dict[str, Any]], plan: ToolPlan) -> list[dict[str, Any]]:
    """The messages for a template that knows no tools: a system message lists them, calls and results become text."""
    listed = "\n".join(json.dumps(t["function"], ensure_ascii=False) for t in plan.tools)
    told = (
        f"You may call these functions:\n{listed}\n"
        f'To call one, write {_TAG}{{"name": <name>, "arguments": <object>}}{_END} and nothing else.'
    )
    rest = [_as_text(m) for m in messages]
    if rest and rest[0]["role"] == "system":
        return [{**rest[0], "content": f"{rest[0]['content']}\n\n{told}"}, *rest[1:]]
    return [{"role": "system", "content": told}, *rest]


def _as_text(message: dict[str, Any]) -> dict[str, Any]:
    if message["role"] == "tool":
        return {"role": "user", "content": f"<tool_response>\n{message['content']}\n</tool_response>"}
    if message.get("tool_calls"):
        calls = "\n".join(
            _TAG + json.dumps(call["function"], ensure_ascii=False) + _END for call in message["tool_calls"]
        )
        return {"role": message["role"], "content": f"{message['content']}{calls}"}
    return message


def read(text: str, plan: ToolPlan | None) -> Parsed:
    """The text and the calls of a finished answer; without calls all of it is text."""
    if plan is None:
        return Parsed(text, [])
    if plan.strict is not None:
        return _read_strict(text, plan.strict)
    if plan.forced is None:
        parsed = parse(text, "auto", plan.names)
        return parsed if parsed.calls else Parsed(text, [])
    found = _FORCED_HEAD.match(text)
    if found is None:  # cut off before the name was there
        return Parsed("", [])
    arguments = text[found.end() :].rstrip()
    return Parsed("", [ToolCall(json.loads(found.group(1)), arguments[:-1].rstrip() if _is_whole(text) else arguments)])


def _read_strict(text: str, strict: StrictTools) -> Parsed:
    reader, said = FormReader(strict), ""
    calls: list[ToolCall] = []
    for piece in reader.push(text):
        said += piece.text
        if piece.name:
            calls.append(ToolCall(piece.name, ""))
        elif piece.arguments:
            calls[-1] = ToolCall(calls[-1].name, calls[-1].arguments + piece.arguments)
    said += reader.finish()
    return Parsed(said.strip(_BETWEEN) if calls else said, calls)


def _is_whole(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def call_object(call: ToolCall, **more: Any) -> dict[str, Any]:
    """OpenAI's tool call, under a new id."""
    return {
        **more,
        "id": f"call_{uuid.uuid4().hex[:24]}",
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }


class ToolStream:
    """Deltas of one streamed answer. Text that may be the beginning of a call is held back until it is decided."""

    def __init__(self, plan: ToolPlan) -> None:
        self._plan = plan
        self._reader = FormReader(plan.strict) if plan.strict is not None else None
        self._held = ""
        self._whole = False
        self._seen_text = False
        self._head: re.Match[str] | None = None
        self.num_calls = 0

    def push(self, text: str) -> list[dict[str, Any]]:
        """Deltas that became certain."""
        if self._reader is not None:
            return [d for piece in self._reader.push(text) for d in self._of_form(piece)]
        self._held += text
        return self._forced() if self._plan.forced is not None else self._free()

    def take(self, text: str, *, is_last: bool) -> list[dict[str, Any]]:
        """As `push`; with the last text also what was held back."""
        return self.push(text) + (self.finish() if is_last else [])

    def finish(self) -> list[dict[str, Any]]:
        """What was held back."""
        if self._reader is not None:
            return self._text(self._reader.finish())
        deltas: list[dict[str, Any]] = []
        if self._plan.forced is not None:
            if self._head is not None:
                rest = self._held.rstrip()
                deltas = self._piece(rest[:-1].rstrip() if rest.endswith("}") else rest)
        elif self._held:
            parsed = parse(self._held, "auto", self._plan.names)
            deltas = self._text(parsed.text) + [d for call in parsed.calls for d in self._call(call)]
        self._held = ""
        return deltas

    def _of_form(self, piece: Piece) -> list[dict[str, Any]]:
        if piece.name:
            return self._call(ToolCall(piece.name, ""))
        return self._piece(piece.arguments) if piece.arguments else self._text(piece.text)

    def _forced(self) -> list[dict[str, Any]]:
        deltas: list[dict[str, Any]] = []
        if self._head is None:
            self._head = _FORCED_HEAD.match(self._held)
            if self._head is None:
                return []
            deltas = self._call(ToolCall(json.loads(self._head.group(1)), ""))
            self._held = self._held[self._head.end() :]
        # The last brace closes the call itself: white space and one brace wait for what follows.
        certain = self._held.rstrip()
        certain = certain[:-1] if certain.endswith("}") else certain
        piece, self._held = certain, self._held[len(certain) :]
        return deltas + self._piece(piece)

    def _piece(self, arguments: str) -> list[dict[str, Any]]:
        if not arguments:
            return []
        return [{"tool_calls": [{"index": self.num_calls - 1, "function": {"arguments": arguments}}]}]

    def _free(self) -> list[dict[str, Any]]:
        if self._whole:
            return []
        if not self._seen_text:
            begun = self._held.lstrip()
            if not begun or any(m.startswith(begun) for m in _WHOLE_MARKERS):
                return []
            if begun.startswith(_WHOLE_MARKERS):
                self._whole = True  # it may be a call as a whole: told at the end
                return []
        deltas: list[dict[str, Any]] = []
        while True:
            start = self._held.find(_TAG)
            if start < 0:
                keep = next((n for n in range(len(_TAG) - 1, 0, -1) if self._held.endswith(_TAG[:n])), 0)
                cut = len(self._held) - keep
                deltas += self._text(self._held[:cut])
                self._held = self._held[cut:]
                return deltas
            deltas += self._text(self._held[:start])
            self._held = self._held[start:]
            end = self._held.find(_END)
            if end < 0:
                return deltas
            block, self._held = self._held[: end + len(_END)], self._held[end + len(_END) :]
            parsed = parse(block, "auto", self._plan.names)
            if parsed.calls:
                deltas += [d for call in parsed.calls for d in self._call(call)]
            else:
                deltas += self._text(block)

    def _text(self, text: str) -> list[dict[str, Any]]:
        if not text or (self.num_calls and not text.strip(_BETWEEN if self._reader is not None else None)):
            return []
        self._seen_text = True
        return [{"content": text}]

    def _call(self, call: ToolCall) -> list[dict[str, Any]]:
        index = self.num_calls
        self.num_calls += 1
        self._seen_text = True
        return [{"tool_calls": [call_object(call, index=index)]}]
