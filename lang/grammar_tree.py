"""What grammars are made of, and the regular ones as regular expressions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .grammar import Rule


class Pattern(NamedTuple):
    """A regular expression; `text`: what it stands for, if it is one text."""

    pattern: str
    text: str | None


class Together(NamedTuple):
    """One after the other."""

    parts: tuple[Tree, ...]


class Either(NamedTuple):
    """One of these."""

    parts: tuple[Tree, ...]


class Times(NamedTuple):
    """`low` to `high` times; None: without end."""

    part: Tree
    low: int
    high: int | None


class Capture(NamedTuple):
    """A part whose text is a value."""

    name: str
    dtype: Any
    part: Tree


class Call(NamedTuple):
    """What a rule stands for."""

    rule: Rule


class Json(NamedTuple):
    """A JSON document; `kind`: the type that its capture has."""

    schema: str
    kind: Any


class Xml(NamedTuple):
    """An XML document."""

    spec: str
    whitespace: str


Tree = Pattern | Together | Either | Times | Capture | Call | Json | Xml


def captures_of(tree: Tree) -> list[Capture]:
    """In order; those of a rule once, however often it is called."""
    found: list[Capture] = []
    seen: set[int] = set()

    def walk(part: Tree) -> None:
        match part:
            case Capture():
                found.append(part)
                walk(part.part)
            case Together(parts) | Either(parts):
                for each in parts:
                    walk(each)
            case Times(inner, _, _):
                walk(inner)
            case Call(rule):
                if id(rule) not in seen and rule.body is not None:
                    seen.add(id(rule))
                    walk(rule.body.tree)

    walk(tree)
    return found


def is_regular(tree: Tree) -> bool:
    """Whether `pattern_of` can write it."""
    match tree:
        case Pattern():
            return True
        case Together(parts) | Either(parts):
            return all(map(is_regular, parts))
        case Times(inner, _, _) | Capture(_, _, inner):
            return is_regular(inner)
    return False


def pattern_of(tree: Tree, groups: dict[int, str] | None) -> str:
    """The pattern of a regular grammar; `groups`: names of the groups that captures are, by their identity."""
    match tree:
        case Pattern(pattern, _):
            return pattern
        case Together(parts):
            return "(?:" + "".join(pattern_of(part, groups) for part in parts) + ")"
        case Either(parts):
            return "(?:" + "|".join(pattern_of(part, groups) for part in parts) + ")"
        case Times(inner, 0, 1):
            return f"(?:{pattern_of(inner, groups)})?"
        case Times(inner, low, high):
            return f"(?:{pattern_of(inner, groups)}){{{low},{'' if high is None else high}}}"
        case Capture(_, _, inner):
            mark = "" if groups is None else f"?P<{groups[id(tree)]}>"
            return f"({mark}{pattern_of(inner, groups)})"
    raise ValueError("a grammar with rules, JSON or XML is not a regular expression")
