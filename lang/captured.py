"""Python values that hold a trace's symbols, as JSON: a symbol becomes a place that a run fills."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import ProgramError, TraceError
from .source_location import user_location
from .symbols import Symbol, split_text

PLACE = "$value"
"""Key of the object that stands for a value: {"$value": index into the node's data}."""
TEXT = "$text"
"""Key of the object that stands for an f-string: {"$text": [text or place, …]}."""

MAX_CHARS = 1 << 22
"""Most characters that the places of one value are filled with: a graph may come from anybody."""


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
    """The value that `template` stands for. ProgramError for one with more than MAX_CHARS of values."""
    return _Filler(values).fill(template)


class _Filler:
    def __init__(self, values: Sequence[Any]) -> None:
        self.values = values
        self.num_chars = 0

    def fill(self, template: Any) -> Any:
        if isinstance(template, list):
            return [self.fill(item) for item in template]
        if not isinstance(template, dict):
            return template
        if PLACE in template:
            value = self.values[template[PLACE]]
            self.num_chars += sum(map(len, value)) if isinstance(value, list) else len(str(value))
            if self.num_chars > MAX_CHARS:
                raise ProgramError(f"a value is over the limit of {MAX_CHARS} characters")
            return value
        if TEXT in template:
            return "".join(str(self.fill(piece)) for piece in template[TEXT])
        return {key: self.fill(item) for key, item in template.items()}
