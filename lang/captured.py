"""Python values that hold a trace's symbols, as JSON: a symbol becomes a place that a run fills."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import TraceError
from .source_location import user_location
from .symbols import Symbol, split_text

PLACE = "$value"
"""Key of the object that stands for a value: {"$value": index into the node's data}."""
TEXT = "$text"
"""Key of the object that stands for an f-string: {"$text": [text or place, …]}."""


def capture(value: Any) -> tuple[Any, list[int]]:
    """`value` as a template and the nodes that fill it. TraceError for what JSON cannot hold."""
    nodes: list[int] = []

    def place(node: int) -> dict[str, Any]:
        if node not in nodes:
            nodes.append(node)
        return {PLACE: nodes.index(node)}

    def walk(part: Any) -> Any:
        if isinstance(part, Symbol):
            return place(part.node)
        if isinstance(part, str):
            pieces = split_text(part)
            if all(isinstance(piece, str) for piece in pieces):
                return part
            return {TEXT: [piece if isinstance(piece, str) else place(piece) for piece in pieces]}
        if part is None or isinstance(part, (bool, int, float)):
            return part
        if type(part) is list:
            return [walk(item) for item in part]
        if type(part) is dict and all(isinstance(key, str) and not key.startswith("$") for key in part):
            return {key: walk(item) for key, item in part.items()}
        raise TraceError(f"a {type(part).__name__} cannot be kept in a graph", where=user_location())

    return walk(value), nodes


def fill(template: Any, values: Sequence[Any]) -> Any:
    """The value that `template` stands for."""
    if isinstance(template, list):
        return [fill(item, values) for item in template]
    if not isinstance(template, dict):
        return template
    if PLACE in template:
        return values[template[PLACE]]
    if TEXT in template:
        return "".join(str(fill(piece, values)) for piece in template[TEXT])
    return {key: fill(item, values) for key, item in template.items()}
