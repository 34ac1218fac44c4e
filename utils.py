"""Names that SGLang's programs import from `sglang.utils`. Nothing of radixlang uses this module."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from typing import Any

import httpx

__all__ = [
    "download_and_cache_file",
    "dump_state_text",
    "http_request",
    "print_highlight",
    "read_jsonl",
    "terminate_process",
    "wait_for_server",
]


class HttpResponse:
    """An answer: `status_code`, `text`, `json()`."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response

    @property
    def status_code(self) -> int:
        return self._response.status_code

    @property
    def text(self) -> str:
        return self._response.text

    def json(self) -> Any:
        return self._response.json()


def http_request(
    url: str,
    json: Any = None,
    stream: bool = False,
    api_key: str | None = None,
    verify: str | bool | None = None,
    method: str | None = None,
) -> HttpResponse:
    """GET, or POST where there is a body. An answer with an error status is returned, not raised."""
    if stream:
        raise ValueError("http_request does not stream here; use httpx.stream")
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    verb = method or ("GET" if json is None else "POST")
    with httpx.Client(verify=True if verify is None else verify, timeout=None) as client:
        return HttpResponse(client.request(verb, url, json=json, headers=headers))


def read_jsonl(filename: str) -> Iterator[Any]:
    """The objects of a JSON Lines file; lines that begin with # are comments."""
    with open(filename, encoding="utf-8") as file:
        for line in file:
            if line.strip() and not line.startswith("#"):
                yield json.loads(line)


def dump_state_text(filename: str, states: Sequence[Any], mode: str = "w") -> None:
    """Writes the text of each state, numbered; a state may be a string."""
    with open(filename, mode, encoding="utf-8") as file:
        for i, state in enumerate(states):
            text = state if isinstance(state, str) else state.text()
            file.write("=" * 40 + f" {i} " + "=" * 40 + "\n" + text + "\n" + "=" * 80 + "\n\n")


def download_and_cache_file(url: str, filename: str | None = None) -> str:
    """The path of the file at `url`, downloaded once; by default into the temporary directory."""
    if filename is None:
        filename = os.path.join(tempfile.gettempdir(), os.path.basename(urllib.parse.urlparse(url).path))
    if os.path.exists(filename):
        return filename
    partial = f"{filename}.{os.getpid()}.part"
    try:
        with httpx.stream("GET", url, follow_redirects=True, timeout=60.0) as response, open(partial, "wb") as file:
            response.raise_for_status()
            for chunk in response.iter_bytes():
                file.write(chunk)
        os.replace(partial, filename)
    finally:
        if os.path.exists(partial):
            os.remove(partial)
    return filename


def wait_for_server(base_url: str, timeout: float | None = None, process: subprocess.Popen[Any] | None = None) -> None:
    """Returns when the server answers. TimeoutError after `timeout` seconds; RuntimeError if `process` ended."""
    deadline = None if timeout is None else time.monotonic() + timeout
    with httpx.Client(timeout=5.0) as client:
        while True:
            try:
                # 401: it runs, and wants a key. Others (503): it loads still.
                if client.get(f"{base_url.rstrip('/')}/v1/models").status_code in (200, 401):
                    return
            except httpx.TransportError:
                pass
            if process is not None and process.poll() is not None:
                raise RuntimeError(f"the server's process ended with status {process.returncode}")
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"the server at {base_url} did not answer within {timeout} s")
            time.sleep(0.2)


def terminate_process(process: subprocess.Popen[Any]) -> None:
    """Ends a server that was started as a process: asked first, killed after 30 s."""
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def print_highlight(html_content: str) -> None:
    """Prints what SGLang's notebooks show in colour."""
    print(html_content)
