"""OpenAI's /v1/files: what batches read and write. In memory, until deleted or the server ends."""

from __future__ import annotations

import time
import uuid
from typing import Any, NamedTuple

from ...errors import RequestError
from .http import Answer, HttpError, Request, Response, json_response
from .multipart import parts_of
from .route import Route
from .service import Service

PURPOSES = ("batch", "assistants", "user_data", "evals", "fine-tune", "vision")


class File(NamedTuple):
    told: dict[str, Any]
    """OpenAI's file object."""
    content: bytes
    client: str
    """Whose it is; others do not see it."""


def make_file(content: bytes, name: str, purpose: str, client: str) -> File:
    told = {
        "id": f"file-{uuid.uuid4().hex}", "object": "file", "bytes": len(content), "created_at": int(time.time()),
        "filename": name[:255], "purpose": purpose, "status": "processed", "expires_at": None, "status_details": None,
    }  # fmt: skip
    return File(told, content, client)


def file_of(service: Service, request: Request, file_id: str, param: str) -> File:
    """Raises HttpError 404, as a RequestError names the field."""
    found = service.files.get(file_id)
    if found is None or found.client != request.client:
        error = HttpError(404, f"there is no file {file_id[:128]!r}", code="file_not_found")
        error.param = param
        raise error
    return found


async def upload(service: Service, request: Request) -> Answer:
    """POST /v1/files: multipart/form-data with `file` and `purpose`."""
    parts = parts_of(await request.body(), request.headers.get("content-type", ""))
    if "file" not in parts:
        raise RequestError("the form has no file", param="file")
    purpose = parts["purpose"].content.decode("utf-8", "replace") if "purpose" in parts else ""
    if purpose not in PURPOSES:
        raise RequestError(f"purpose must be one of {', '.join(PURPOSES)}", param="purpose")
    file = make_file(parts["file"].content, parts["file"].filename or "file", purpose, request.client)
    if not service.files.put(file.told["id"], file, len(file.content)):
        raise RequestError("the files that are kept leave no room; delete some", param="file", code="files_full")
    return json_response(file.told)


async def list_files(service: Service, request: Request) -> Answer:
    """GET /v1/files?purpose=: the newest first."""
    purpose = request.query.get("purpose")
    told = [f.told for f in service.files.values() if f.client == request.client]
    told = [t for t in reversed(told) if purpose is None or t["purpose"] == purpose]
    return json_response({"object": "list", "data": told, "has_more": False})


async def show(service: Service, request: Request) -> Answer:
    """GET /v1/files/{id}."""
    return json_response(file_of(service, request, request.params["id"], "id").told)


async def content(service: Service, request: Request) -> Answer:
    """GET /v1/files/{id}/content."""
    file = file_of(service, request, request.params["id"], "id")
    return Response(file.content, content_type="application/octet-stream")


async def delete(service: Service, request: Request) -> Answer:
    """DELETE /v1/files/{id}."""
    file_id = file_of(service, request, request.params["id"], "id").told["id"]
    service.files.drop(file_id)
    return json_response({"id": file_id, "object": "file", "deleted": True})


def routes() -> list[Route]:
    return [
        Route(path="/v1/files", handler=upload, summary="Upload a file"),
        Route(path="/v1/files", handler=list_files, methods=("GET",), summary="Files"),
        Route(path="/v1/files/{id}/content", handler=content, methods=("GET",), summary="What a file holds"),
        Route(path="/v1/files/{id}", handler=show, methods=("GET",), summary="One file"),
        Route(path="/v1/files/{id}", handler=delete, methods=("DELETE",), summary="Delete a file"),
    ]
