"""Requests and responses on plain ASGI: bounded bodies, strict JSON, no framework on the way of a token."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qs

import msgspec

from ...constrained.foreign_fields import unread
from ...errors import RadixlangError, RequestError

if TYPE_CHECKING:
    from .bodies import HeldBody

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
T = TypeVar("T")

MAX_JSON_DEPTH = 64
BODY_STALL_S = 15.0


class HttpError(RadixlangError):
    """A fault of the HTTP layer itself: 401, 404, 405, 408, 413, 415."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, kind: str = "invalid_request_error",
        headers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message, code=code)
        self.status = status
        self.kind = kind
        self.headers = dict(headers or {})


class ClientGone(Exception):
    """The client closed the connection; nobody reads an answer."""


@dataclass(slots=True)
class Response:
    """A whole answer."""

    body: bytes
    status: int = 200
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class EventStream:
    """An answer that is written as it comes: `frames` yields bytes as they go on the wire."""

    frames: AsyncIterator[bytes]
    content_type: str = "text/event-stream; charset=utf-8"
    keep_alive: bytes = b": keep-alive\n\n"
    """Sent when nothing else was for 15 s; empty: nothing is."""
    on_error: Callable[[BaseException], bytes] | None = None
    """Renders an error once the stream has begun; default: {"error": …} and [DONE]."""
    headers: dict[str, str] = field(default_factory=dict)


Answer = Response | EventStream

_json_encoder = msgspec.json.Encoder()


def json_response(data: object, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(_json_encoder.encode(data), status, headers=headers or {})


def text_response(text: str, *, status: int = 200, content_type: str = "text/plain; charset=utf-8") -> Response:
    return Response(text.encode(), status, content_type)


class Request:
    """One HTTP request. `params` are those of the route's path; `id` is in the answer's x-request-id."""

    __slots__ = (
        "_body",
        "_receive",
        "client",
        "headers",
        "held",
        "id",
        "ignored",
        "max_body",
        "method",
        "params",
        "path",
        "scope",
        "unread",
    )

    def __init__(
        self, scope: Scope, receive: Receive, *, request_id: str, max_body: int, held: HeldBody,
        body: bytes | None = None,
    ) -> None:  # fmt: skip
        """`body`: where it is there already, and is not to be received."""
        self.scope = scope
        self.method: str = scope["method"]
        self.path: str = scope["path"].removeprefix(scope.get("root_path", "")) or "/"  # mounted in another app
        self.headers: dict[str, str] = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        self.params: dict[str, str] = {}
        self.id = request_id
        self.max_body = max_body
        self.held = held
        self.client = ""
        """Whose share of the machine this takes."""
        self.ignored: list[str] = []
        """Body fields that were not honoured: told in x-radixlang-ignored."""
        self.unread: list[str] = []
        """Those of them, and of the fields inside of them, that ask for a constraint."""
        self._receive = receive
        self._body = body

    @property
    def query(self) -> dict[str, str]:
        raw = self.scope.get("query_string", b"").decode("latin-1")
        return {name: values[-1] for name, values in parse_qs(raw, keep_blank_values=True).items()}

    async def body(self) -> bytes:
        """The whole body, read once. Raises HttpError 413, 415, 408 or 503, ClientGone."""
        if self._body is not None:
            return self._body
        if self.headers.get("content-encoding", "identity") != "identity":
            raise HttpError(415, "compressed bodies are not accepted; send the body as it is")
        length = self.headers.get("content-length", "")
        if length.isdigit() and int(length) > self.max_body:
            raise self._too_large()
        pieces: list[bytes] = []
        size = 0
        more = True
        while more:
            try:
                message = await asyncio.wait_for(self._receive(), BODY_STALL_S)
            except asyncio.TimeoutError:
                told = f"no byte of the body came for {BODY_STALL_S:.0f} s"
                raise HttpError(408, told, headers={"connection": "close"}) from None
            if message["type"] == "http.disconnect":
                raise ClientGone
            piece = message.get("body", b"")
            size += len(piece)
            if size > self.max_body:
                raise self._too_large()
            self.held.take(piece)
            pieces.append(piece)
            more = message.get("more_body", False)
        self._body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return self._body

    def _too_large(self) -> HttpError:
        limit = self.max_body / (1 << 20)
        return HttpError(
            413,
            f"the body is over the limit of {limit:g} MiB",
            code="request_too_large",
            headers={"connection": "close"},
        )

    async def json_object(self) -> dict[str, Any]:
        """The body as a JSON object. Raises RequestError with code invalid_json."""
        data = parse_json(await self.body())
        if not isinstance(data, dict):
            raise RequestError("the body must be a JSON object", code="invalid_json")
        return data

    async def struct(self, kind: type[T]) -> T:
        """The body as a msgspec struct, types strict; fields that it does not know are added to `ignored`."""
        data = await self.json_object()
        value = convert(data, kind)
        self.note_ignored(data, kind)
        return value

    def note_ignored(self, data: Mapping[str, Any], kind: type, head: str = "") -> None:
        """Adds the fields that `kind` does not know to `ignored`; `head`: the path of `data` before a field's name."""
        known = _known_fields(kind)
        if not data.keys() <= known:
            names = sorted(name for name in data.keys() - known if data[name] is not None)
            self.ignored.extend(head + name for name in names)
            self.unread.extend(head + path for name in names for path in unread(name, data[name]))

    async def gone(self) -> None:
        """Returns when the client has closed the connection. Only after `body`."""
        while True:
            if (await self._receive())["type"] == "http.disconnect":
                return

    async def guard(self, work: Awaitable[T]) -> T:
        """`work`'s result; cancels it and raises ClientGone when the client goes first."""
        task = asyncio.ensure_future(work)
        watcher = asyncio.ensure_future(self.gone())
        try:
            await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise ClientGone
            return task.result()
        finally:
            for pending in (task, watcher):
                if not pending.done():
                    pending.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await pending


_FIELDS: dict[type, frozenset[str]] = {}


def _known_fields(kind: type) -> frozenset[str]:
    known = _FIELDS.get(kind)
    if known is None:
        names = getattr(kind, "__struct_encode_fields__", ())
        known = _FIELDS[kind] = frozenset(names)
    return known


def parse_json(body: bytes) -> Any:
    """Strict JSON: no NaN, no number out of range, UTF-8, at most 64 levels. Raises RequestError (invalid_json)."""
    try:
        data = msgspec.json.decode(body)
    except RecursionError:
        raise _too_deep() from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RequestError(f"the body is not valid JSON: {error}", code="invalid_json") from None
    # Every level is one opening bracket: few brackets need no walk.
    if body.count(b"[") + body.count(b"{") > MAX_JSON_DEPTH:
        _check_depth(data)
    return data


def _too_deep() -> RequestError:
    return RequestError(f"the JSON is nested deeper than {MAX_JSON_DEPTH} levels", code="invalid_json")


def _check_depth(data: Any) -> None:
    level = [data]
    for _ in range(MAX_JSON_DEPTH):
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below.extend(v for v in value.values() if isinstance(v, (dict, list)))
            elif isinstance(value, list):
                below.extend(v for v in value if isinstance(v, (dict, list)))
        if not below:
            return
        level = below
    raise _too_deep()


def convert(data: object, kind: type[T]) -> T:
    """`data` as `kind`, types strict. Raises RequestError naming the field."""
    from ..native_api import wrong_type

    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise wrong_type(error) from None
