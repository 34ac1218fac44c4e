"""A small HTTP server that answers as a test says."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class FakeServer:
    """`answers[path](body)`: a dict is sent as JSON, a list as events, (status, body) as JSON with that status."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable] = {}
        self.seen: list[tuple[str, dict | None, dict[str, str]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_GET(self):
                self.answer(None)

            def do_POST(self):
                length = int(self.headers.get("content-length") or 0)
                data = self.rfile.read(length)
                self.answer(json.loads(data) if data else None)

            def answer(self, body):
                outer.seen.append((self.path, body, dict(self.headers)))
                result = outer.answers[self.path.partition("?")[0]](body)
                status, streams = 200, isinstance(result, list)
                if isinstance(result, tuple):
                    status, result = result
                if streams:
                    events = [f"data: {json.dumps(event)}\n\n" for event in result] + ["data: [DONE]\n\n"]
                    data, kind = "".join(events).encode(), "text/event-stream"
                else:
                    data, kind = json.dumps(result).encode(), "application/json"
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def bodies(self, path: str) -> list[dict]:
        return [body for seen, body, _ in self.seen if seen.partition("?")[0] == path]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def server() -> Iterator[FakeServer]:
    found = FakeServer()
    yield found
    found.close()
