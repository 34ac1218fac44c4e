"""What a structural tag is made of: texts, patterns, documents and special tokens, in a row, by choice, repeated."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from ..fsm.fallback import to_engine
from ..fsm.pattern import Alt, Node, Repeat, Seq
from ..json_schema.judge import Watch


@dataclass(frozen=True, slots=True)
class Lexeme:
    """A pattern without lookarounds."""

    tree: Node
    is_free: bool = False
    """Free text, which leaves to a number before it all that could belong to that."""


@dataclass(frozen=True, slots=True)
class Text:
    """A constant; not empty."""

    text: str


@dataclass(frozen=True, slots=True)
class Document:
    """A JSON document, by the rule that the engine serves it with."""

    rule: str
    first: bytes
    """Bytes with which it may begin."""
    more: bytes
    """Bytes that, right behind it, could be a part of it."""
    watch: Watch | None = field(default=None, compare=False)
    """What is watched in it."""


@dataclass(frozen=True, slots=True)
class Token:
    """A special token."""

    token_id: int
    text: str
    """What it is spelled as; not empty."""


Body = Lexeme | Text | Document | Token | Seq | Alt | Repeat
"""In Seq, Alt and Repeat stand bodies."""


def seq(*parts: Body) -> Body:
    """One after the other; texts that are neighbours are one text."""
    found: list[Any] = []
    for part in parts:
        for one in part.parts if isinstance(part, Seq) else (part,):
            if found and isinstance(one, Text) and isinstance(found[-1], Text):
                found[-1] = Text(found[-1].text + one.text)
            else:
                found.append(one)
    return found[0] if len(found) == 1 else Seq(tuple(found))


def alt(*options: Body) -> Body:
    """One of these."""
    return options[0] if len(options) == 1 else Alt(options)  # type: ignore[arg-type]


def repeat(body: Body, low: int, high: int | None) -> Body:
    """`low` to `high` times; None: without end."""
    return Repeat(body, low, high)  # type: ignore[arg-type]


class LarkWriter:
    """Bodies as expressions of the engine's Lark; `lines` are the terminals that these name."""

    def __init__(self) -> None:
        self.terminals: dict[Node, str] = {}

    @property
    def lines(self) -> list[str]:
        """A line for each terminal."""
        return [f"{name}: /{to_engine(tree)}/" for tree, name in self.terminals.items()]

    def write(self, body: Any) -> str:
        """The expression of a body."""
        match body:
            case Lexeme(tree, _):
                return self.terminals.setdefault(tree, f"T{len(self.terminals)}")
            case Text(text):
                return json.dumps(text)
            case Document(rule):
                return rule
            case Token(token_id, _):
                return f"<[{token_id}]>"
            case Seq(parts):
                return "(" + " ".join(map(self.write, parts)) + ")" if parts else '""'
            case Alt(options):
                return "(" + " | ".join(map(self.write, options)) + ")"
            case Repeat(inner, low, high):
                return f"({self.write(inner)}){{{low},{'' if high is None else high}}}"
        raise AssertionError(body)
