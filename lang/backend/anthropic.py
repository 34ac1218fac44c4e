"""Anthropic's Messages API. No SDK is needed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ...errors import ConfigError, RequestError
from ..chat_template import get_chat_template
from ..sampling import SglSamplingParams
from .http_backend import TIMEOUT_S, HttpBackend

if TYPE_CHECKING:
    from ..stream_executor import StreamExecutor

API_VERSION = "2023-06-01"


class Anthropic(HttpBackend):
    """The model `model_name` at `base_url` (default: ANTHROPIC_BASE_URL, then api.anthropic.com).

    api_key: default ANTHROPIC_API_KEY. Text of the open assistant block is sent as the answer's beginning.
    """

    def __init__(
        self,
        model_name: str,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        timeout: float = TIMEOUT_S,
        default_headers: dict[str, str] | None = None,
    ) -> None:
        key = api_key or os.environ.get("ANTHROPIC_API_KEY")
        if not key:
            raise ConfigError("no API key: pass api_key, or set ANTHROPIC_API_KEY", param="api_key")
        url = base_url or os.environ.get("ANTHROPIC_BASE_URL") or "https://api.anthropic.com"
        headers = {"x-api-key": key, "anthropic-version": API_VERSION, **(default_headers or {})}
        super().__init__(url, headers, {}, timeout)
        self.model_name = model_name
        self.chat_template = get_chat_template("claude")

    def get_model_name(self) -> str:
        return self.model_name

    def _request(self, s: StreamExecutor, params: SglSamplingParams) -> dict[str, Any]:
        for name in ("regex", "json_schema", "ebnf", "structural_tag", "constraint", "dtype"):
            if getattr(params, name) is not None:
                raise RequestError(f"{name} is not supported by Anthropic's API", param=name)
        body: dict[str, Any] = {"model": self.model_name, **params.to_anthropic_kwargs()}
        messages = [_message(m) for m in s.messages_]
        if not messages:
            messages = [{"role": "user", "content": s.text_}]
        elif s.performer.cur_role == "assistant":
            begun = s.text_[s.performer.cur_role_begin_pos :].rstrip()  # the API refuses trailing blanks
            if begun:
                messages.append({"role": "assistant", "content": begun})
        system = [m["content"] for m in messages if m["role"] == "system"]
        body["messages"] = [m for m in messages if m["role"] != "system"]
        if system:
            body["system"] = "\n".join(system)
        if not body["stop_sequences"]:
            del body["stop_sequences"]
        return body

    def generate(self, s: StreamExecutor, sampling_params: SglSamplingParams) -> tuple[Any, dict[str, Any]]:
        answer = self.post("/v1/messages", self._request(s, sampling_params))
        text = "".join(str(block.get("text") or "") for block in answer["content"] if block.get("type") == "text")
        return text, self._meta(answer.get("usage") or {}, answer.get("stop_reason"), answer.get("id"))

    def generate_stream(
        self, s: StreamExecutor, sampling_params: SglSamplingParams
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        body = {**self._request(s, sampling_params), "stream": True}
        usage: dict[str, Any] = {}
        for event in self.post_stream("/v1/messages", body):
            kind = event.get("type")
            if kind == "message_start":
                usage.update(event["message"].get("usage") or {})
            elif kind == "content_block_delta" and event["delta"].get("type") == "text_delta":
                yield event["delta"]["text"], {}
            elif kind == "message_delta":
                usage.update(event.get("usage") or {})
                yield "", self._meta(usage, (event.get("delta") or {}).get("stop_reason"), None)

    def _meta(self, usage: dict[str, Any], reason: str | None, rid: str | None) -> dict[str, Any]:
        cached = int(usage.get("cache_read_input_tokens") or 0)
        prompt = int(usage.get("input_tokens") or 0) + cached + int(usage.get("cache_creation_input_tokens") or 0)
        counts = self.count(prompt, int(usage.get("output_tokens") or 0))
        kind = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length"}.get(reason or "", reason)
        return {"id": rid, "finish_reason": {"type": kind} if kind else None, "cached_tokens": cached, **counts}


def _message(message: dict[str, Any]) -> dict[str, Any]:
    """A message of ours (OpenAI's form) in the API's."""
    content = message["content"]
    if isinstance(content, str):
        return {"role": message["role"], "content": content}
    blocks: list[dict[str, Any]] = []
    for part in content:
        if part["type"] == "text":
            blocks.append(part)
            continue
        kind, _, data = part["image_url"]["url"].partition(";base64,")
        media_type = kind.removeprefix("data:")
        blocks.append({"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}})
    return {"role": message["role"], "content": blocks}
