"""A symbolic run of a program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .backend.base_backend import BaseBackend
    from .program import SglFunction


def current_trace() -> Any:
    return None


def cache_program(program: SglFunction, backend: BaseBackend) -> None:
    """Has the backend compute the program's constant prefix."""
