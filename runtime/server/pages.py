"""The pages of this server: GET / (chat, tokens, the cache) and GET /docs (the routes).

All of their parts come from here, and they may load nothing else; what they fetch asks for the key, they do not.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

from .http import Answer, HttpError, Request, Response
from .route import Route, open_route
from .service import Service

_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
}
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
_UI_PARTS = (
    "page.css", "main.js", "api.js", "chat.js", "cache.js", "markdown.js", "settings.js", "store.js", "tokens.js",
)  # fmt: skip
_DOCS_PARTS = {"page.js": "docs.js", "page.css": "docs.css"}
_RUNNING = b"radixlang is running"
"""As Ollama's clients expect it."""


@cache
def _content(path: str) -> bytes:
    return (resources.files(__package__) / "static" / path).read_bytes()


def _part(path: str, **headers: str) -> Response:
    kind = _TYPES[path.rsplit(".", 1)[1]]
    return Response(_content(path), content_type=f"{kind}; charset=utf-8", headers={**_HEADERS, **headers})


async def root(service: Service, request: Request) -> Answer:
    """GET /: the page to a browser, a sign of life to others."""
    if "text/html" in request.headers.get("accept", "") and not service.config.no_ui:
        return _part("ui/page.html", vary="accept")
    return Response(_RUNNING, content_type="text/plain; charset=utf-8", headers={"vary": "accept"})


async def ui_part(service: Service, request: Request) -> Answer:
    """GET /ui/{part}."""
    if request.params["part"] not in _UI_PARTS or service.config.no_ui:
        raise HttpError(404, "the page has no such part", code="not_found")
    return _part(f"ui/{request.params['part']}")


async def docs(service: Service, request: Request) -> Answer:
    """GET /docs."""
    return _part("docs.html")


async def docs_part(service: Service, request: Request) -> Answer:
    """GET /docs/page.js and /docs/page.css."""
    name = _DOCS_PARTS.get(request.params["part"])
    if name is None:
        raise HttpError(404, "the page has no such part", code="not_found")
    return _part(name)


def routes() -> list[Route]:
    return [
        open_route("/", root, "The page, or a sign of life"),
        open_route("/ui/{part}", ui_part, "Parts of the page"),
        open_route("/docs", docs, "This server's routes, for people"),
        open_route("/docs/{part}", docs_part, "Parts of that page"),
    ]
