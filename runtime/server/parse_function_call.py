"""POST /parse_function_call: tool calls in a text, by the parser that the request names."""

from __future__ import annotations

from typing import Any

import msgspec

from ...errors import RequestError
from .http import Answer, Request, json_response
from .route import Route
from .service import Service
from .tools.parsers import PARSERS, parse
from .tools.plan import plan_tools


class ParseBody(msgspec.Struct):
    """SGLang's body."""

    text: str
    tools: list[Any] | None = None
    tool_call_parser: str | None = None


async def parse_function_call(service: Service, request: Request) -> Answer:
    """{"normal_text", "calls": [{"tool_index", "name", "parameters"}]}, parameters as JSON text."""
    body = await request.struct(ParseBody)
    parser = body.tool_call_parser or "auto"
    if parser not in PARSERS:
        known = ", ".join(sorted(PARSERS))
        raise RequestError(f"tool_call_parser must be one of {known}; found {parser!r}", param="tool_call_parser")
    plan = plan_tools(body.tools, None)
    parsed = parse(body.text, parser, plan.names if plan else None)
    indices = {t["function"]["name"]: i for i, t in enumerate(plan.tools)} if plan else {}
    calls = [
        {"tool_index": indices.get(call.name, -1), "name": call.name, "parameters": call.arguments}
        for call in parsed.calls
    ]
    return json_response({"normal_text": parsed.text, "calls": calls})


def routes() -> list[Route]:
    return [Route(path="/parse_function_call", handler=parse_function_call, body=ParseBody, summary="Read tool calls")]
