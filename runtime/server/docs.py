"""GET /docs: a page that shows the routes of /openapi.json and sends requests. All of it comes from this server."""

from __future__ import annotations

from functools import cache
from importlib import resources

from .http import Answer, HttpError, Request, Response
from .route import Route
from .service import Service

_PARTS = {
    "docs.html": "text/html; charset=utf-8",
    "docs.css": "text/css; charset=utf-8",
    "docs.js": "text/javascript; charset=utf-8",
}
_HEADERS = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
}


@cache
def _content(name: str) -> bytes:
    return (resources.files(__package__) / "static" / name).read_bytes()


def _part(name: str) -> Response:
    return Response(_content(name), content_type=_PARTS[name], headers=dict(_HEADERS))


async def docs(service: Service, request: Request) -> Answer:
    """GET /docs: open, as it tells nothing of this server; what it fetches asks for the key."""
    return _part("docs.html")


async def part(service: Service, request: Request) -> Answer:
    """GET /docs/page.js and /docs/page.css."""
    name = {"page.js": "docs.js", "page.css": "docs.css"}.get(request.params["part"])
    if name is None:
        raise HttpError(404, "the page has no such part", code="not_found")
    return _part(name)


async def root(service: Service, request: Request) -> Answer:
    """GET /: a browser goes to the page; others hear what Ollama's clients expect."""
    if "text/html" in request.headers.get("accept", ""):
        return Response(b"", 307, "text/plain; charset=utf-8", {"location": "docs", "vary": "accept"})
    return Response(b"radixlang is running", content_type="text/plain; charset=utf-8", headers={"vary": "accept"})


def routes() -> list[Route]:
    return [
        Route(path="/docs", handler=docs, methods=("GET",), is_open=True, summary="This server's routes, for people"),
        Route(path="/docs/{part}", handler=part, methods=("GET",), is_open=True, summary="Parts of that page"),
        Route(path="/", handler=root, methods=("GET",), is_open=True, summary="A sign of life"),
    ]
