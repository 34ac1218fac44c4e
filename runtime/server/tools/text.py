"""Tools told to a model whose chat template knows none: what may be called, calls that were made, and their results."""

from __future__ import annotations

import json
from typing import Any

from .forms import ToolForm
from .plan import ToolPlan


def with_tool_text(messages: list[dict[str, Any]], plan: ToolPlan) -> list[dict[str, Any]]:
    """The messages for a template that knows no tools: a system message lists them, calls and results become text."""
    listed = "\n".join(json.dumps(t["function"], ensure_ascii=False) for t in plan.tools)
    told = f"You may call these functions:\n{listed}\nTo call one, write {_example(plan.form)} and nothing else."
    rest = [_as_text(m, plan.form) for m in messages]
    if rest and rest[0]["role"] == "system":
        return [{**rest[0], "content": f"{rest[0]['content']}\n\n{told}"}, *rest[1:]]
    return [{"role": "system", "content": told}, *rest]


def _example(form: ToolForm) -> str:
    arguments = "<object>" if form.style == "json" else "<argument>=<value>, …"
    return form.begin("<name>", form.openings[0]) + arguments + form.tail + form.end


def _as_text(message: dict[str, Any], form: ToolForm) -> dict[str, Any]:
    if message["role"] == "tool":
        return {"role": "user", "content": f"<tool_response>\n{message['content']}\n</tool_response>"}
    if message.get("tool_calls"):
        calls = [_written(call["function"], form) for call in message["tool_calls"]]
        if form.separator is None:
            text = form.between.join(form.openings[0] + call + form.end for call in calls)
        else:
            text = form.openings[0] + form.separator.join(calls) + form.end
        return {"role": message["role"], "content": f"{message['content']}{text}"}
    return message


def _written(function: dict[str, Any], form: ToolForm) -> str:
    """A call without what opens and ends its block."""
    name, arguments = function["name"], function["arguments"]
    if form.style == "python" and isinstance(arguments, dict):
        told = ", ".join(f"{key}={_value(value)}" for key, value in arguments.items())
    else:
        told = json.dumps(arguments, ensure_ascii=False)
    return form.begin(json.dumps(name, ensure_ascii=False)[1:-1], "") + told + form.tail


def _value(value: Any) -> str:
    """As the constraint has it: JSON, but for Python's True and False."""
    return repr(value) if isinstance(value, bool) else json.dumps(value, ensure_ascii=False)
