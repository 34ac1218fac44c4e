"""What backends for priced HTTP APIs share: a client, retries, usage, and server-sent events."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from .base_backend import BaseBackend
from .sse import connection_error, error_of, event_of, is_last

TIMEOUT_S = 600.0
NUM_TRIES = 3
RETRY_PAUSE_S = 0.5
"""Before the second try; doubled before the third."""
_PASSING = (408, 409, 429, 500, 502, 503, 504, 529)


@dataclass
class TokenUsage:
    """Tokens that an API charged."""

    prompt_tokens: int
    completion_tokens: int

    def reset(self) -> None:
        self.prompt_tokens = self.completion_tokens = 0


class HttpBackend(BaseBackend):
    """`base_url` with the API's version, such as https://host/v1. Calls block; the language runs them in threads."""

    is_chat_model = True

    def __init__(self, base_url: str, headers: dict[str, str], params: dict[str, str], timeout_s: float) -> None:
        super().__init__()
        self.base_url = base_url.rstrip("/")
        self.token_usage = TokenUsage(0, 0)
        self._client = httpx.Client(headers=headers, params=params, timeout=httpx.Timeout(timeout_s, connect=10.0))

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The answer's JSON. Raises the API's error; failures that may pass are tried again."""
        for attempt in range(NUM_TRIES):
            try:
                response = self._client.post(self.base_url + path, json=body)
            except httpx.HTTPError as error:
                if attempt == NUM_TRIES - 1:
                    raise connection_error(error, self.base_url + path) from error
            else:
                if response.status_code < 400:
                    answer: dict[str, Any] = response.json()
                    return answer
                if response.status_code not in _PASSING or attempt == NUM_TRIES - 1:
                    raise error_of(_body(response.text), response.status_code)
            time.sleep(RETRY_PAUSE_S * 2**attempt)
        raise AssertionError("unreachable: the last try returns or raises")

    def post_stream(self, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The answer's events. Raises the API's error."""
        try:
            with self._client.stream("POST", self.base_url + path, json=body) as response:
                if response.status_code >= 400:
                    response.read()
                    raise error_of(_body(response.text), response.status_code)
                for line in response.iter_lines():
                    if is_last(line):
                        return
                    if (event := event_of(line)) is not None:
                        yield event
        except httpx.HTTPError as error:
            raise connection_error(error, self.base_url + path) from error

    def count(self, prompt_tokens: int, completion_tokens: int) -> dict[str, Any]:
        """Adds to `token_usage`; the counts as meta information."""
        self.token_usage.prompt_tokens += prompt_tokens
        self.token_usage.completion_tokens += completion_tokens
        return {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}

    def shutdown(self) -> None:
        self._client.close()


def _body(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text[:1000]
