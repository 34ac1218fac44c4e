"""The ASGI application: finds the route, checks the key, answers, tells errors. No logic of any API."""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from collections.abc import Callable, Iterable

from .active import Active, current
from .auth import Keys
from .bodies import BodyBudget, HeldBody
from .errors import error_response
from .http import ClientGone, EventStream, HttpError, Receive, Request, Response, Scope, Send
from .route import Route
from .service import Service
from .streaming import StreamWriter, write_response

logger = logging.getLogger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_NOT_IN_HEADERS = re.compile(r"[^ -~]")
_FOREIGN_FIELDS = frozenset({
    "num_ctx", "think", "keep_alive", "options", "reasoning", "reasoning_effort", "thinking", "prediction", "verbosity",
    "web_search_options", "prompt_cache_key", "safety_identifier", "typical_p", "mirostat", "repeat_last_n",
    "session_id", "length_penalty",
})  # fmt: skip
"""Fields of other servers that clients often send."""
_LOOPBACK = {"localhost", "127.0.0.1", "::1", "[::1]"}


class Router:
    """Paths without parameters in one dict, the others as patterns."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = list(routes)
        self._fixed: dict[str, dict[str, Route]] = {}
        self._patterns: list[tuple[re.Pattern[str], dict[str, Route]]] = []
        by_path: dict[str, dict[str, Route]] = {}
        for route in self.routes:
            for method in route.methods:
                by_path.setdefault(route.path, {})[method] = route
        for path, methods in by_path.items():
            if "{" in path:
                pattern = re.sub(r"\{(\w+):path\}", r"(?P<\1>.+)", re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))
                self._patterns.append((re.compile(pattern), methods))
            else:
                self._fixed[path] = methods

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """Raises HttpError 404 or 405."""
        methods = self._fixed.get(path)
        params: dict[str, str] = {}
        if methods is None:
            for pattern, of_pattern in self._patterns:
                if found := pattern.fullmatch(path):
                    methods, params = of_pattern, found.groupdict()
                    break
        if methods is None:
            raise HttpError(404, f"there is no route {method} {path[:200]}", code="not_found")
        route = methods.get(method) or (methods.get("GET") if method == "HEAD" else None)
        if route is None:
            allowed = ", ".join(sorted(methods))
            raise HttpError(
                405, f"{path} takes {allowed}, not {method[:20]}", code="method_not_allowed", headers={"allow": allowed}
            )
        return route, params


class App:
    """ASGI. `service` is shared by all routes."""

    def __init__(
        self, service: Service, routes: Iterable[Route], *, later: Callable[[], Iterable[Route]] | None = None
    ) -> None:
        """`later`: gives all routes, `routes` among them; called in a thread, by `complete` or the first other path."""
        self.service = service
        self.router = Router(routes)
        self._later = later
        self._completing = asyncio.Lock()
        config = service.config
        self._keys = Keys((config.api_key, *config.api_keys), config.admin_api_key)
        self._max_body = int(config.max_body_mb * (1 << 20))
        self._bodies = BodyBudget(self._max_body)
        self._origins = frozenset(config.cors_origins)
        self._local_only = config.host in _LOOPBACK
        self._hosts = _LOOPBACK | {config.host}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1000})
            return
        await self._answer(scope, receive, send)

    async def complete(self) -> None:
        """Loads the routes that come later."""
        async with self._completing:
            if self._later is not None:
                self.router, self._later = Router(await asyncio.to_thread(self._later)), None

    async def _find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        if self._later is not None:
            try:
                return self.router.find(method, path)
            except HttpError:
                await self.complete()
        return self.router.find(method, path)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        metrics = self.service.metrics
        held = HeldBody(self._bodies)
        request = Request(scope, receive, request_id=uuid.uuid4().hex, max_body=self._max_body, held=held)
        given = request.headers.get("x-request-id", "")
        if _REQUEST_ID.fullmatch(given):
            request.id = given
        style, label, counted = _style_of(request.path), "unknown", False
        status, active = 499, None
        metrics.http_requests_active.inc()
        try:
            if request.method == "OPTIONS" and self._origins:
                response: Response | EventStream = Response(b"", 204)
            else:
                self._check_host(request)
                route, request.params = await self._find(request.method, request.path)
                style, label = route.style, route.path
                self._keys.check(route, request)
                counted = not route.is_open
                self.service.num_active += counted
                if counted:
                    active = Active(request.id, label)
                    self.service.active.add(active)
                    current.set(active)
                response = await route.handler(self.service, request)
            if isinstance(response, Response):
                status = response.status
                await write_response(response, send, self._headers(request), with_body=request.method != "HEAD")
            else:
                writer = StreamWriter(response, send, self._headers(request), style)
                status = await self.service.sweeper.write(request, writer)
        except ClientGone:
            logger.debug("the client of %s is gone", request.id)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            response = error_response(error, style)
            status = response.status
            await write_response(response, send, self._headers(request))
        finally:
            held.give_back()
            self.service.num_active -= counted
            if active is not None:
                self.service.active.discard(active)
                current.set(None)
            metrics.http_requests_active.dec()
            metrics.http_requests.labels(label, request.method if label != "unknown" else "other").inc()
            metrics.http_responses.labels(str(status)).inc()

    def _check_host(self, request: Request) -> None:
        """A server on loopback answers loopback names only: DNS rebinding makes a browser send others."""
        if not self._local_only:
            return
        host = request.headers.get("host", "localhost")
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if name.lower() not in self._hosts:
            raise HttpError(403, "this server is for the local machine only", kind="permission_error", code="bad_host")

    def _headers(self, request: Request) -> list[tuple[bytes, bytes]]:
        headers = [(b"x-request-id", request.id.encode())]
        if request.ignored:
            for name in request.ignored:
                # Names come from clients: only those that we know become labels.
                self.service.metrics.ignored_fields.labels(name if name in _FOREIGN_FIELDS else "other").inc()
            told = _NOT_IN_HEADERS.sub("?", ",".join(request.ignored)[:1000])
            headers.append((b"x-radixlang-ignored", told.encode()))
        origin = request.headers.get("origin")
        if origin and self._origins and ("*" in self._origins or origin in self._origins):
            headers += [
                (b"access-control-allow-origin", origin.encode("latin-1")),
                (b"access-control-allow-headers", b"authorization, content-type, x-api-key"),
                (b"access-control-allow-methods", b"GET, POST, DELETE, OPTIONS"),
                (b"vary", b"origin"),
            ]
        return headers


def _style_of(path: str) -> str:
    """How errors are told where no route was found."""
    if path.startswith("/api/"):
        return "ollama"
    return "anthropic" if path.startswith("/v1/messages") else "openai"


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return
