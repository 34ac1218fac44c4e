"""Normalised schemas put together: alternatives, and what must hold at once."""

from __future__ import annotations

from typing import Any

from .complement import Schema


def any_of(options: list[Schema], out: dict[str, Any], beside: list[Any]) -> None:
    """Adds alternatives; dead ones fall away."""
    options = [option for option in options if option is not False]
    if any(option is True or option == {} for option in options):
        return
    if len(options) == 1:
        beside.append(options[0])
    elif not options:
        beside.append(False)
    elif "anyOf" in out:
        beside.append({"anyOf": options})
    else:
        out["anyOf"] = options


def together(out: dict[str, Any], beside: list[Any]) -> Schema:
    """One schema that holds when all do."""
    if any(schema is False for schema in beside):
        return False
    if not beside:
        return out or True
    if not out and len(beside) == 1:
        only: Schema = beside[0]
        return only
    return {**out, "allOf": beside}
