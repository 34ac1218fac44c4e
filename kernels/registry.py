"""Op name to implementations: the first one that runs on the device and takes the arguments is used.

An implementation is registered once, by its folder's table; `kernels.load` calls the tables that this machine can run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import InternalError

Kernel = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Implementation:
    """One way to compute an op."""

    name: str
    kernel: Kernel
    device: str
    """torch device type it runs on; "any": all of them."""
    rank: int
    """Higher is tried first; the reference has 0."""
    fits: Callable[..., bool] | None
    """Told the call's arguments; None: takes all."""


_table: dict[str, list[Implementation]] = {}


def register(
    op: str,
    kernel: Kernel,
    *,
    name: str,
    device: str = "any",
    rank: int = 0,
    fits: Callable[..., bool] | None = None,
) -> None:
    """Adds an implementation; the same name again replaces it."""
    rest = [i for i in _table.get(op, []) if i.name != name]
    _table[op] = sorted([*rest, Implementation(name, kernel, device, rank, fits)], key=lambda i: -i.rank)


def implementations(op: str) -> list[Implementation]:
    """All that are registered, best first."""
    return list(_table.get(op, ()))


def best(op: str, device: str, *args: Any, **options: Any) -> Implementation:
    """The first implementation of `op` on `device` that takes these arguments."""
    for implementation in _table.get(op, ()):
        if implementation.device in ("any", device) and (
            implementation.fits is None or implementation.fits(*args, **options)
        ):
            return implementation
    raise InternalError(f"no implementation of {op} runs on {device}; kernels.load was not called")


def find(op: str, device: str, *args: Any, **options: Any) -> Kernel:
    """What computes `op` on `device` for these arguments."""
    return best(op, device, *args, **options).kernel
