"""The body of /v1/responses, read into chat messages, tools and a constraint."""

from __future__ import annotations

from typing import Any

from ...constrained.fields import FoundConstraint, response_format
from ...constrained.wire import ConstraintFields, asked_in, constraint_in
from ...errors import GrammarError, RequestError
from .messages import template_messages
from .tools.forms import ToolForm
from .tools.plan import ToolPlan, plan_tools

_IGNORED_ITEMS = frozenset({"reasoning", "item_reference", "web_search_call", "file_search_call", "computer_call"})


class ResponsesBody(ConstraintFields, kw_only=True):
    """OpenAI's body, and the constraints of the other APIs."""

    model: str | None = None
    input: str | list[Any] | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stream: bool | None = None
    store: bool | None = None
    previous_response_id: str | None = None
    text: dict[str, Any] | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    metadata: dict[str, Any] | None = None
    user: str | None = None
    background: bool | None = None
    truncation: str | None = None


def conversation(body: ResponsesBody, earlier: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was said so far and now, without the instructions, as checked chat messages. Raises RequestError."""
    if not body.input:
        raise RequestError("input must be a text or a list of items", param="input")
    if isinstance(body.input, str):
        return [*earlier, {"role": "user", "content": body.input}]
    told: list[dict[str, Any]] = []
    for index, item in enumerate(body.input):
        told += _item(item, f"input.{index}")
    if not told:
        raise RequestError("input holds no message", param="input")
    return [*earlier, *template_messages(told, "input")]


def _item(item: Any, path: str) -> list[dict[str, Any]]:
    if not isinstance(item, dict):
        raise RequestError(f"{path} must be an object", param=path)
    kind = item.get("type", "message")
    if kind == "message":
        return [{"role": item.get("role"), "content": item.get("content")}]
    if kind == "function_call":
        function = {"name": item.get("name"), "arguments": item.get("arguments") or "{}"}
        call = {"id": item.get("call_id"), "type": "function", "function": function}
        return [{"role": "assistant", "content": None, "tool_calls": [call]}]
    if kind == "function_call_output":
        output = item.get("output")
        return [{"role": "tool", "tool_call_id": str(item.get("call_id") or ""), "content": output}]
    if kind in _IGNORED_ITEMS:
        return []
    raise RequestError(f"{path}.type {str(kind)[:40]!r} is not served", param=f"{path}.type")


def tools_of(body: ResponsesBody, form: ToolForm) -> ToolPlan | None:
    """Function tools; other types are skipped, as clients send them unasked. `form`: how the model writes calls.

    Raises RequestError for a tool whose input a grammar constrains.
    """
    tools = None
    if body.tools is not None:
        tools = []
        for index, tool in enumerate(body.tools):
            if not isinstance(tool, dict):
                raise RequestError(f"tools.{index} must be an object", param=f"tools.{index}")
            if tool.get("type") == "function":
                function = {
                    k: v for k, v in tool.items() if k in ("name", "description", "parameters") and v is not None
                }
                tools.append({"type": "function", "function": function, "strict": tool.get("strict")})
            elif isinstance(told := tool.get("format"), dict) and told.get("type") != "text":
                message = f"tools.{index} asks for a grammar, which only text.format does here; make it a function"
                raise RequestError(message, param=f"tools.{index}.format")
    choice = body.tool_choice
    if isinstance(choice, dict) and choice.get("type") == "function":
        choice = {"type": "function", "function": {"name": choice.get("name")}}
    return plan_tools(tools, choice, form=form, is_parallel=body.parallel_tool_calls, schema_path="parameters")


def constraint_of(body: ResponsesBody) -> FoundConstraint | None:
    """Of text.format, or of a field beside it. Raises GrammarError for both."""
    form = (body.text or {}).get("format")
    found = response_format(form, "text.format") if form is not None else None
    if found is None:
        return constraint_in(body)
    others = asked_in(body)
    if others:
        message = f"only one constraint at a time; found text.format and {', '.join(others)}"
        raise GrammarError(message, code="conflicting_constraints")
    return found
