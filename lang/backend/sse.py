"""Server-sent events of a radixlang or OpenAI-compatible server, and the errors its answers carry."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx

from ... import errors


async def events(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The JSON objects of a `data: {...}` stream, until `data: [DONE]`. Raises the error that an event carries."""
    async for line in response.aiter_lines():
        if is_last(line):
            return
        if (event := event_of(line)) is not None:
            yield event


def is_last(line: str) -> bool:
    """Whether the line of a stream says that nothing follows."""
    return line.startswith("data:") and line[5:].strip() == "[DONE]"


def event_of(line: str) -> dict[str, Any] | None:
    """The JSON object of a line of a stream; None for a line that holds none. Raises the error that it carries."""
    if not line.startswith("data:"):
        return None
    event: dict[str, Any] = json.loads(line[5:])
    if isinstance(event, dict) and event.get("error"):
        raise error_of(event["error"], 500)
    return event


def error_of(body: Any, status: int) -> errors.RadixlangError:
    """An answer's error as one of ours: the class that its code names, else one that fits the status."""
    if isinstance(body, dict) and isinstance(body.get("error"), (dict, str)):
        body = body["error"]
    message, code, param = str(body), None, None
    if isinstance(body, dict):
        message = str(body.get("message") or body)
        code = body.get("code") if isinstance(body.get("code"), str) else None
        param = body.get("param") if isinstance(body.get("param"), str) else None
        status = int(body.get("status") or (body["code"] if isinstance(body.get("code"), int) else status))
    if status in (429, 503):
        return errors.OverloadedError(message, status=status, code=code)
    if status == 404:
        return errors.ModelNotFound(message, param=param, code=code)
    if status == 499:
        return errors.Aborted(message, param=param, code=code)
    if code in ("invalid_schema", "unsupported_schema", "unsatisfiable_schema", "grammar_too_large"):
        return errors.GrammarError(message, param=param, code=code)
    if 400 <= status < 500:
        return errors.RequestError(message, param=param, code=code)
    return errors.RadixlangError(message, param=param, code=code)


async def raise_for(response: httpx.Response) -> None:
    """Raises the error of an answer whose status is one."""
    if response.status_code < 400:
        return
    text = (await response.aread()).decode("utf-8", "replace")
    try:
        body: Any = json.loads(text)
    except json.JSONDecodeError:
        body = text[:1000] or response.reason_phrase
    raise error_of(body, response.status_code)


def connection_error(error: httpx.HTTPError, url: str) -> errors.RadixlangError:
    """A transport failure, with what was asked for."""
    kind = "did not answer in time" if isinstance(error, httpx.TimeoutException) else "cannot be reached"
    result = errors.EngineDead(f"the server at {url} {kind}: {error or type(error).__name__}")
    result.__cause__ = error
    return result
