"""OpenAI's /v1/batches on the running server: a file of requests, answered beside the others at low priority.

The lines go in the order of their prompts, so that neighbours share what the radix tree holds; BATCH_WIDTH are under
way, of all batches together, so that a client of its own finds the queue open.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from typing import Any, Literal

import msgspec

from ...errors import EngineDead, OverloadedError, RequestError
from .batch_lines import Line, lines_of
from .bodies import BodyBudget, HeldBody
from .chat import chat
from .completions import completions
from .embeddings import embeddings
from .errors import error_response
from .files import file_of, make_file
from .http import Answer, HttpError, Message, Request, Response, json_response
from .responses import responses
from .route import Handler, Route
from .service import BATCH_WIDTH, Service

RETRY_S = 0.5
MAX_RUNNING = 16
"""Batches under way: each holds its file and answers."""
MAX_METADATA, MAX_NAME, MAX_VALUE = 16, 64, 512
"""Pairs, and characters of each; as OpenAI bounds them."""
MAX_ANSWER_BYTES = 128 << 20
"""Of one batch."""
PRIORITY = -100
_HANDLERS: dict[str, Handler] = {
    "/v1/chat/completions": chat,
    "/v1/completions": completions,
    "/v1/embeddings": embeddings,
    "/v1/responses": responses,
}
_WITH_PRIORITY = ("/v1/chat/completions", "/v1/completions")
_encode = msgspec.json.Encoder().encode


class BatchBody(msgspec.Struct):
    """OpenAI's body."""

    input_file_id: str
    endpoint: str
    completion_window: Literal["24h"] = "24h"
    metadata: dict[str, str] | None = None


class Batch:
    """One batch; `told` is OpenAI's object."""

    def __init__(self, service: Service, request: Request, body: BatchBody, lines: list[Line]) -> None:
        self._service = service
        self.client = request.client
        self._endpoint = body.endpoint
        self._lines = lines
        self._done: list[tuple[int, bool, bytes]] = []
        """By the line's number: the answer, and whether it is good."""
        self._num_bytes = 0
        self._task: asyncio.Task[None] | None = None
        self._alone = asyncio.Lock()
        now = int(time.time())
        self.told: dict[str, Any] = {
            "id": f"batch_{uuid.uuid4().hex}", "object": "batch", "endpoint": body.endpoint, "errors": None,
            "input_file_id": body.input_file_id, "completion_window": body.completion_window, "status": "in_progress",
            "output_file_id": None, "error_file_id": None, "created_at": now, "in_progress_at": now,
            "expires_at": now + 86400, "finalizing_at": None, "completed_at": None, "failed_at": None,
            "expired_at": None, "cancelling_at": None, "cancelled_at": None, "metadata": body.metadata,
            "request_counts": {"total": len(lines), "completed": 0, "failed": 0},
        }  # fmt: skip

    @property
    def is_running(self) -> bool:
        return self._task is not None and not self._task.done()

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    def cancel(self) -> None:
        """What is answered by then stands in its files."""
        if self._task is not None and not self._task.done() and self.told["status"] != "cancelling":
            self._end("cancelling")
            self._task.cancel()

    async def _run(self) -> None:
        waiting = iter(self._lines)

        async def work() -> None:
            for line in waiting:
                async with self._service.batch_lines:
                    response = await self._answer(line)
                good = response.status < 400
                self.told["request_counts"]["completed" if good else "failed"] += 1
                told = _told(line, response)
                self._num_bytes += len(told)
                if self._num_bytes > MAX_ANSWER_BYTES:
                    raise _TooLarge
                self._done.append((line.number, good, told))
                if self.told["status"] != "in_progress":  # what is awaited may end just as it is cancelled
                    return

        self._service.num_active += 1  # a server that ends waits for what is under way, and refuses the rest
        workers = [asyncio.ensure_future(work()) for _ in range(min(BATCH_WIDTH, len(self._lines)))]
        try:
            await asyncio.gather(*workers)
            self._end("finalizing")
            self._write()
            self._end("completed")
        except (asyncio.CancelledError, _TooLarge) as error:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            self._write()
            if isinstance(error, _TooLarge):
                self._wrong("answers_too_large", "the answers take too much room; ask for fewer at once")
            self._end("failed" if isinstance(error, _TooLarge) else "cancelled")
        finally:
            self._service.num_active -= 1

    def _end(self, status: str) -> None:
        self.told["status"] = status
        self.told[f"{status}_at"] = int(time.time())

    async def _answer(self, line: Line) -> Response:
        """The answer to one line, asked for again while the server is full.

        After an engine's death it is tried by itself: a line that brings engines down is not taken for its neighbours.
        """
        body = line.body()
        if self._endpoint in _WITH_PRIORITY:
            body.setdefault("priority", PRIORITY)
        content = _encode(body)
        died = False
        while True:
            async with self._alone if died else contextlib.nullcontext():
                try:
                    request = _request(self._endpoint, content, self.client)
                    answer = await _HANDLERS[self._endpoint](self._service, request)
                    assert isinstance(answer, Response)  # a line that asks for a stream is refused before
                    return answer
                except Exception as error:
                    response = error_response(error)
                    is_late = self._service.is_draining or time.time() >= self.told["expires_at"]
                    if response.status not in (429, 503) or is_late:
                        return response
                    died |= isinstance(error, EngineDead)
            await asyncio.sleep(RETRY_S)

    def _write(self) -> None:
        for name, wanted in (("output_file_id", True), ("error_file_id", False)):
            content = b"".join(told for _, good, told in sorted(self._done) if good == wanted)
            if not content:
                continue
            file = make_file(content, f"{self.told['id']}.jsonl", "batch_output", self.client)
            if self._service.files.put(file.told["id"], file, len(content)):
                self.told[name] = file.told["id"]
            else:
                self._wrong("files_full", "the files that are kept leave no room for the answers; delete some")
        self._done.clear()
        self._lines = []

    def _wrong(self, code: str, message: str) -> None:
        told = {"code": code, "message": message, "param": None, "line": None}
        self.told["errors"] = {"object": "list", "data": [told]}


class _TooLarge(Exception):
    """A batch's answers take more than MAX_ANSWER_BYTES."""


def _request(path: str, content: bytes, client: str) -> Request:
    """A request of this server's own, of a client that stays. Raises HttpError 413 for too many values."""
    scope = {"type": "http", "method": "POST", "path": path, "headers": [], "query_string": b""}
    held = HeldBody(BodyBudget(len(content)))
    held.take(content)
    made = Request(scope, _stay, request_id=uuid.uuid4().hex, max_body=len(content), held=held, body=content)
    made.client = client
    return made


async def _stay() -> Message:
    await asyncio.Event().wait()
    raise AssertionError("nobody sets it")


def _told(line: Line, response: Response) -> bytes:
    request_id = uuid.uuid4().hex
    answer = {"status_code": response.status, "request_id": request_id, "body": msgspec.Raw(response.body)}
    told = {"id": f"batch_req_{request_id}", "custom_id": line.custom_id, "response": answer, "error": None}
    return _encode(told) + b"\n"


def _batch(service: Service, request: Request) -> Batch:
    found = service.batches.get(request.params["id"])
    if found is None or found.client != request.client:
        raise HttpError(404, f"there is no batch {request.params['id'][:128]!r}", code="batch_not_found")
    return found


def _check_metadata(metadata: dict[str, str]) -> None:
    is_long = any(len(name) > MAX_NAME or len(value) > MAX_VALUE for name, value in metadata.items())
    if is_long or len(metadata) > MAX_METADATA:
        told = f"{MAX_METADATA} names of {MAX_NAME} characters, each with a value of {MAX_VALUE}"
        raise RequestError(f"metadata may hold {told}", param="metadata")


def _check_room(service: Service) -> None:
    if sum(batch.is_running for batch in service.batches.values()) >= MAX_RUNNING:
        told = f"{MAX_RUNNING} batches are under way; try again when one has ended"
        raise OverloadedError(told, status=429, code="too_many_batches", retry_after_s=30)


async def create(service: Service, request: Request) -> Answer:
    """POST /v1/batches."""
    assert service.front is not None
    body = await request.struct(BatchBody)
    service.check_fields(request)
    if body.endpoint not in _HANDLERS:
        raise RequestError(f"endpoint must be one of {', '.join(_HANDLERS)}", param="endpoint")
    file = file_of(service, request, body.input_file_id, "input_file_id")
    _check_metadata(body.metadata or {})
    _check_room(service)
    request.held.take(file.content)  # while it is read, its values take their room as those of a body do
    lines = await asyncio.to_thread(lines_of, file.content, body.endpoint)
    _check_room(service)  # others began meanwhile
    batch = Batch(service, request, body, lines)
    while not service.batches.put(batch.told["id"], batch):
        oldest = next(kept for kept in service.batches.values() if not kept.is_running)
        service.batches.drop(oldest.told["id"])
    batch.start()
    return json_response(batch.told)


async def list_batches(service: Service, request: Request) -> Answer:
    """GET /v1/batches: the newest first."""
    told = [b.told for b in service.batches.values() if b.client == request.client]
    return json_response({"object": "list", "data": told[::-1], "has_more": False})


async def show(service: Service, request: Request) -> Answer:
    """GET /v1/batches/{id}."""
    return json_response(_batch(service, request).told)


async def cancel(service: Service, request: Request) -> Answer:
    """POST /v1/batches/{id}/cancel."""
    batch = _batch(service, request)
    batch.cancel()
    return json_response(batch.told)


def routes() -> list[Route]:
    return [
        Route(path="/v1/batches", handler=create, body=BatchBody, summary="Answer a file of requests"),
        Route(path="/v1/batches", handler=list_batches, methods=("GET",), summary="Batches"),
        Route(path="/v1/batches/{id}", handler=show, methods=("GET",), summary="One batch"),
        Route(path="/v1/batches/{id}/cancel", handler=cancel, summary="End a batch"),
    ]
