"""Fills the registry, once, with what this machine can run."""

from __future__ import annotations

from functools import cache


@cache
def load_kernels() -> None:
    """Imports torch. Cheap when called again."""
    from .reference import table

    table.register_all()
