"""Exception to status and body: one table, one renderer for each API's shape. An exception that is not ours is a 500
with a fixed text and an error id; the log has the rest."""

from __future__ import annotations

import logging
import uuid
from typing import Any

import msgspec

from ...errors import InternalError, OverloadedError, RadixlangError
from .http import HttpError, Response

logger = logging.getLogger(__name__)

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_ANTHROPIC_TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    413: "request_too_large", 429: "rate_limit_error", 503: "overloaded_error",
}  # fmt: skip
INTERNAL_MESSAGE = "an internal error; the request may be sent again"


def status_of(error: BaseException) -> int:
    """The HTTP status; 499 (client gone, aborted) is answered as 503 when somebody still reads."""
    status = error.status if isinstance(error, RadixlangError) else 500
    return 503 if status == 499 else status


def known(error: BaseException) -> RadixlangError:
    """`error` itself, or an InternalError with an id that the log explains."""
    if isinstance(error, RadixlangError) and not isinstance(error, InternalError):
        return error
    error_id = uuid.uuid4().hex[:12]
    logger.error("internal error %s", error_id, exc_info=error)
    return InternalError(f"{INTERNAL_MESSAGE} (error id {error_id})")


def error_object(error: BaseException) -> dict[str, Any]:
    """OpenAI's {message, type, param, code}."""
    error = known(error)
    status = status_of(error)
    kind = getattr(error, "kind", None) or _TYPES.get(
        status, "server_error" if status >= 500 else "invalid_request_error"
    )
    return {"message": error.message, "type": kind, "param": error.param, "code": error.code}


def error_body(error: BaseException, style: str = "openai") -> bytes:
    """The JSON body in an API's own shape: openai, ollama or anthropic."""
    told = error_object(error)
    if style == "ollama":
        return msgspec.json.encode({"error": told["message"]})
    if style == "anthropic":
        kind = _ANTHROPIC_TYPES.get(status_of(error), "api_error")
        return msgspec.json.encode({"type": "error", "error": {"type": kind, "message": told["message"]}})
    return msgspec.json.encode({"error": told})


def error_response(error: BaseException, style: str = "openai") -> Response:
    """The whole answer, with Retry-After where waiting helps."""
    headers: dict[str, str] = {}
    status = status_of(error)
    if isinstance(error, HttpError):
        headers.update(error.headers)
    if isinstance(error, OverloadedError):
        headers["retry-after"] = str(max(1, error.retry_after_s))
    elif status in (429, 503):
        headers["retry-after"] = "1"
    return Response(error_body(error, style), status, headers=headers)
