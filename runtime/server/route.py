"""One line of the route table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from .http import Answer, Request

if TYPE_CHECKING:
    from .service import Service

Handler = Callable[["Service", Request], Awaitable[Answer]]
Style = Literal["openai", "ollama", "anthropic"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """`path` may hold {name} segments; `{name:path}` at the end takes the rest, slashes included."""

    path: str
    handler: Handler
    methods: tuple[str, ...] = ("POST",)
    body: type | None = None
    """The msgspec struct of the body, for /openapi.json; dict: any object. None: it takes no body."""
    style: Style = "openai"
    """How errors are told."""
    is_open: bool = False
    """Answered without a key."""
    is_admin: bool = False
    """Needs the admin key where there is one."""
    is_listed: bool = True
    """Stands in /openapi.json."""
    summary: str = ""


def open_route(path: str, handler: Handler, summary: str) -> Route:
    """A GET that is answered without a key."""
    return Route(path=path, handler=handler, methods=("GET",), is_open=True, summary=summary)
