"""A server of one's own, in a child process."""

from __future__ import annotations

import atexit
import importlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx

from ..errors import ConfigError, EngineDead
from .backend.runtime_endpoint import RuntimeEndpoint
from .backend.sse import events, raise_for

POLL_S = 0.1


def free_port(first: int = 30000, last: int = 40000) -> int:
    """The first port from `first` on that nothing on this machine listens at."""
    for port in range(first, last):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            if os.name == "posix":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"no free port from {first} to {last}")


class Runtime:
    """Starts `python -m radixlang.launch_server`, waits until it serves, and stops it at exit or by shutdown().

    Keyword arguments are the server's options: model_path="..." becomes --model-path, True becomes a bare flag.
    A program's backend may be the Runtime itself.
    """

    def __init__(self, log_level: str = "error", launch_timeout: float = 300.0, **server_args: Any) -> None:
        host = str(server_args.setdefault("host", "127.0.0.1"))
        port = int(server_args.pop("port", None) or free_port())
        self.server_args = {**server_args, "port": port, "log_level": log_level}
        self.url = f"http://{host}:{port}"
        self.generate_url = self.url + "/generate"
        command = [sys.executable, "-m", "radixlang.launch_server", *_options(self.server_args)]
        # A session of its own: shutdown ends the server's own processes with it. Its standard input ends when this
        # process does, however that happens.
        self._process: subprocess.Popen[bytes] | None = subprocess.Popen(
            command,
            start_new_session=True,
            stdin=subprocess.PIPE,
            env={**os.environ, "RADIXLANG_ENDS_WITH_STDIN": "1"},
        )
        atexit.register(self.shutdown)
        self._wait(launch_timeout)
        self.endpoint = RuntimeEndpoint(self.url, api_key=server_args.get("api_key"))

    @property
    def pid(self) -> int | None:
        """Of the server's process; None after shutdown."""
        return None if self._process is None else self._process.pid

    def _wait(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        assert self._process is not None
        while time.monotonic() < deadline:
            status = self._process.poll()
            if status is not None:
                self.shutdown()
                raise EngineDead(f"the server ended with status {status} before it served; its messages are above")
            try:
                if httpx.get(self.url + "/health", timeout=5.0).status_code == 200:
                    return
            except httpx.TransportError:
                pass  # not listening yet
            time.sleep(POLL_S)
        self.shutdown()
        raise TimeoutError(f"the server at {self.url} did not serve within {timeout_s:g} s")

    def shutdown(self) -> None:
        """Stops the server; a second call does nothing."""
        process, self._process = self._process, None
        if process is None:
            return
        atexit.unregister(self.shutdown)
        endpoint = getattr(self, "endpoint", None)  # absent where the launch failed
        if endpoint is not None:
            endpoint.shutdown()
        assert process.stdin is not None
        process.stdin.close()  # which asks it to drain
        for ask in (signal.SIGTERM, signal.SIGKILL):
            if process.poll() is not None:
                return
            try:
                os.killpg(process.pid, ask)
            except ProcessLookupError:
                return
            try:
                process.wait(timeout=10.0)
            except subprocess.TimeoutExpired:
                continue

    def cache_prefix(self, prefix: str) -> None:
        """Computes `prefix`, so that prompts which begin with it find it in the cache."""
        self.endpoint.cache_prefix(prefix)

    def start_profile(self) -> None:
        """The server begins to record its steps."""
        self.endpoint.start_profile()

    def stop_profile(self) -> None:
        """Ends what start_profile began."""
        self.endpoint.stop_profile()

    def get_tokenizer(self) -> Any:
        """The transformers tokenizer of the served model; needs the transformers package."""
        try:
            transformers = importlib.import_module("transformers")  # optional, and never for anything else here
        except ImportError as error:
            raise ConfigError("get_tokenizer needs the transformers package: pip install transformers") from error
        return transformers.AutoTokenizer.from_pretrained(self.endpoint.model_info["tokenizer_path"])

    def _headers(self) -> dict[str, str]:
        key = self.server_args.get("api_key")
        return {"Authorization": f"Bearer {key}"} if key else {}

    def generate(
        self, prompt: str | list[str], sampling_params: dict[str, Any] | None = None, **fields: Any
    ) -> dict[str, Any] | list[dict[str, Any]]:
        """POST /generate, with `fields` of the request such as return_logprob."""
        body = {"text": prompt, "sampling_params": sampling_params, **fields}
        response = httpx.post(self.generate_url, json=body, headers=self._headers(), timeout=None)
        _check(response)
        answer: dict[str, Any] | list[dict[str, Any]] = response.json()
        return answer

    async def async_generate(self, prompt: str, sampling_params: dict[str, Any] | None = None) -> AsyncIterator[str]:
        """Pieces of the answer's text."""
        body = {"text": prompt, "sampling_params": sampling_params, "stream": True}
        num_seen = 0
        async with (
            httpx.AsyncClient(headers=self._headers(), timeout=None) as client,
            client.stream("POST", self.generate_url, json=body) as response,
        ):
            await raise_for(response)
            async for event in events(response):
                piece = event["text"][num_seen:]
                num_seen += len(piece)
                if piece:
                    yield piece

    add_request = async_generate

    def encode(self, prompt: str | list[str]) -> Any:
        """POST /encode: the embedding of each prompt."""
        response = httpx.post(self.url + "/encode", json={"text": prompt}, headers=self._headers(), timeout=None)
        _check(response)
        return response.json()

    async def get_server_info(self) -> dict[str, Any]:
        """Configuration and counters of the server. RadixlangError where it does not answer well."""
        async with httpx.AsyncClient(headers=self._headers()) as client:
            response = await client.get(self.url + "/get_server_info")
        await raise_for(response)
        info: dict[str, Any] = response.json()
        return info

    def __enter__(self) -> Runtime:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()


def _check(response: httpx.Response) -> None:
    from .backend.sse import error_of

    if response.status_code >= 400:
        is_json = response.headers.get("content-type", "").startswith("application/json")
        raise error_of(response.json() if is_json else response.text, response.status_code)


def _options(args: dict[str, Any]) -> list[str]:
    options: list[str] = []
    for name, value in args.items():
        flag = "--" + name.replace("_", "-")
        if value is True:
            options.append(flag)
        elif isinstance(value, (list, tuple)):
            options += [flag, *map(str, value)]
        elif value is not None and value is not False:
            options += [flag, str(value)]
    return options
