"""What a response of OpenAI's Responses API looks like: the object, and the events that build it."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

import msgspec

from ..generate_request import GenerateChunk
from ..messages import Finish
from .errors import error_object
from .generation import Tally, gather
from .http import Answer, json_response
from .responses_input import ResponsesBody
from .tools.plan import ToolPlan, call_object, read
from .tools.stream import ToolStream

_encode = msgspec.json.Encoder().encode


class Shape:
    """The response object, and the events that build it."""

    def __init__(
        self,
        body: ResponsesBody,
        sampling: dict[str, Any],
        model: str,
        plan: ToolPlan | None,
        keep: Callable[[dict[str, Any], dict[str, Any]], None],
    ) -> None:
        self._plan = plan
        self._keep = keep
        self._number = -1
        self._head: dict[str, Any] = {
            "id": f"resp_{uuid.uuid4().hex}", "object": "response", "created_at": int(time.time()), "error": None,
            "incomplete_details": None, "instructions": body.instructions, "model": model,
            "max_output_tokens": body.max_output_tokens, "metadata": body.metadata or {}, "parallel_tool_calls": True,
            "previous_response_id": body.previous_response_id, "reasoning": {"effort": None, "summary": None},
            "store": body.store is not False, "temperature": sampling.get("temperature", 1.0),
            "text": body.text or {"format": {"type": "text"}}, "tool_choice": body.tool_choice or "auto",
            "tools": body.tools or [], "top_p": sampling.get("top_p", 1.0),
            "truncation": "disabled", "user": body.user, "background": bool(body.background),
        }  # fmt: skip

    def told(self, status: str, **fields: Any) -> dict[str, Any]:
        """The response while it has no output."""
        return {**self._head, "status": status, "output": [], "usage": None, **fields}

    def give_up(self, status: str, error: BaseException | None) -> None:
        """Keeps the response that will have no output."""
        failure = _failure(error) if error is not None else None
        self._keep(self.told(status, error=failure), {"role": "assistant", "content": ""})

    def _finished(self, output: list[dict[str, Any]], finish: Finish | None, tally: Tally) -> dict[str, Any]:
        cut = finish is not None and finish.type == "length"
        aborted = finish is not None and finish.type == "abort"
        usage = {
            "input_tokens": tally.prompt_len,
            "input_tokens_details": {"cached_tokens": tally.cached_len},
            "output_tokens": tally.completion_len,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": tally.prompt_len + tally.completion_len,
        }
        told = {
            **self._head,
            "status": "incomplete" if cut else "cancelled" if aborted else "completed",
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "output": output,
            "usage": usage,
        }
        self._keep(told, _as_message(output))
        return told

    async def whole(self, chunks: AsyncIterator[GenerateChunk]) -> Answer:
        tally = Tally()
        (generation,), _ = await gather(chunks, 1, tally)
        text, calls = read("".join(generation.text), self._plan)
        output = [_message_item(text)] if text or not calls else []
        for call in calls:
            output.append(_call_item(call_object(call)["id"], call.name, call.arguments))
        return json_response(self._finished(output, generation.finish, tally))

    def _event(self, kind: str, **fields: Any) -> bytes:
        self._number += 1
        told = _encode({"type": kind, "sequence_number": self._number, **fields})
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), told)

    def failed(self, error: BaseException) -> bytes:
        """The event of an engine that failed on the way."""
        return self._event("response.failed", response=self.told("failed", error=_failure(error)))

    async def stream(self, chunks: AsyncGenerator[GenerateChunk, None]) -> AsyncIterator[bytes]:
        tally = Tally()
        tools = ToolStream(self._plan) if self._plan is not None else None
        items = _Items(self._event)
        begun = False
        async with contextlib.aclosing(chunks):
            async for chunk in chunks:
                tally.take(chunk)
                if not begun:
                    begun = True
                    opening = self.told("in_progress")
                    yield self._event("response.created", response=opening)
                    yield self._event("response.in_progress", response=opening)
                deltas: list[dict[str, Any]] = [{"content": chunk.text}] if chunk.text else []
                if tools is not None:
                    deltas = tools.take(chunk.text, is_last=chunk.finish is not None)
                for delta in deltas:
                    for frame in items.take(delta):
                        yield frame
                if chunk.finish is not None:
                    for frame in items.finish():
                        yield frame
                    response = self._finished(items.output, chunk.finish, tally)
                    kind = "incomplete" if response["status"] == "incomplete" else "completed"
                    yield self._event(f"response.{kind}", response=response)


class _Items:
    """Output items of a streamed response, one after the other."""

    def __init__(self, event: Callable[..., bytes]) -> None:
        self._event = event
        self.output: list[dict[str, Any]] = []
        self._open: dict[str, Any] | None = None

    def take(self, delta: dict[str, Any]) -> list[bytes]:
        frames: list[bytes] = []
        if "content" in delta:
            if self._open is None or self._open["type"] != "message":
                frames += self._close()
                self._open = _message_item("", status="in_progress")
                frames.append(self._added({**self._open, "content": []}))
                frames.append(self._event("response.content_part.added", **self._place(), part=_part("")))
            part = self._open["content"][0]
            part["text"] += delta["content"]
            frames.append(
                self._event("response.output_text.delta", **self._place(), delta=delta["content"], logprobs=[])
            )
            return frames
        for call in delta["tool_calls"]:
            function = call["function"]
            if "id" in call:
                frames += self._close()
                self._open = _call_item(call["id"], function["name"], "", status="in_progress")
                frames.append(self._added(self._open))
            assert self._open is not None
            arguments = function.get("arguments", "")
            if arguments:
                self._open["arguments"] += arguments
                frames.append(
                    self._event(
                        "response.function_call_arguments.delta", item_id=self._open["id"],
                        output_index=len(self.output), delta=arguments,
                    )
                )  # fmt: skip
        return frames

    def finish(self) -> list[bytes]:
        """Closes the last item; an answer without any has an empty message."""
        frames = self.take({"content": ""}) if self._open is None and not self.output else []
        return frames + self._close()

    def _added(self, item: dict[str, Any]) -> bytes:
        return self._event("response.output_item.added", output_index=len(self.output), item=item)

    def _place(self) -> dict[str, Any]:
        assert self._open is not None
        return {"item_id": self._open["id"], "output_index": len(self.output), "content_index": 0}

    def _close(self) -> list[bytes]:
        item = self._open
        if item is None:
            return []
        frames: list[bytes] = []
        item["status"] = "completed"
        if item["type"] == "message":
            part = item["content"][0]
            frames.append(self._event("response.output_text.done", **self._place(), text=part["text"], logprobs=[]))
            frames.append(self._event("response.content_part.done", **self._place(), part=part))
        else:
            frames.append(
                self._event(
                    "response.function_call_arguments.done", item_id=item["id"], output_index=len(self.output),
                    name=item["name"], arguments=item["arguments"],
                )
            )  # fmt: skip
        frames.append(self._event("response.output_item.done", output_index=len(self.output), item=item))
        self.output.append(item)
        self._open = None
        return frames


def _failure(error: BaseException) -> dict[str, Any]:
    told = error_object(error)
    return {"code": told["code"] or "server_error", "message": told["message"]}


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _message_item(text: str, status: str = "completed") -> dict[str, Any]:
    told = {"type": "message", "id": f"msg_{uuid.uuid4().hex}", "status": status, "role": "assistant"}
    return {**told, "content": [_part(text)]}


def _call_item(call_id: str, name: str, arguments: str, status: str = "completed") -> dict[str, Any]:
    told = {"type": "function_call", "id": f"fc_{uuid.uuid4().hex}", "call_id": call_id, "status": status}
    return {**told, "name": name, "arguments": arguments}


def _as_message(output: list[dict[str, Any]]) -> dict[str, Any]:
    """The answer as a chat message, for the requests that go on from it."""
    text = "".join(item["content"][0]["text"] for item in output if item["type"] == "message")
    message: dict[str, Any] = {"role": "assistant", "content": text}
    calls = [
        {"id": i["call_id"], "type": "function", "function": {"name": i["name"], "arguments": _object(i["arguments"])}}
        for i in output
        if i["type"] == "function_call"
    ]
    return {**message, "tool_calls": calls} if calls else message


def _object(arguments: str) -> Any:
    try:
        return msgspec.json.decode(arguments)
    except msgspec.MsgspecError:
        return arguments
