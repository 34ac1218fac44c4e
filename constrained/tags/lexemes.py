"""In which lexemes of the engine a structural tag is written.

Its lexer is greedy: of the lexemes that may stand at a place it takes the longest, and never looks back. So parts stay
lexemes of their own where that cannot hurt; else neighbours without documents become one lexeme; else everything is
split into single characters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors import GrammarTooLarge, UnsupportedGrammar
from ..fsm.pattern import Alt, Chars, Node, Repeat, Seq
from ..json_schema.strings import literal
from .body import Body, Lexeme, Text, alt, repeat, seq
from .lexer import is_greed_harmless

MAX_MERGED = 2000
"""Parts of the pattern that neighbours become."""


def in_lexemes(body: Body, pointer: str) -> Body:
    """The same language, in lexemes that a greedy lexer reads right.

    Raises UnsupportedGrammar where a document and what stands beside it cannot be told apart, GrammarTooLarge where
    that cannot be said; `pointer` is what they are raised for.
    """
    ways: tuple[Callable[[Body], Body], ...] = (lambda same: same, _merged, _split)
    too_large: GrammarTooLarge | None = None
    for way in ways:
        try:
            found = way(body)
            if is_greed_harmless(found, pointer):
                return found
        except GrammarTooLarge as error:
            too_large = error
    if too_large is not None:
        raise GrammarTooLarge(too_large.message, keyword="format", pointer=pointer)
    raise UnsupportedGrammar(
        "where a JSON document begins or ends cannot be told from the text beside it; put a text between them that "
        f"neither can hold (at {pointer})",
        keyword="format",
        pointer=pointer,
    )


def _merged(body: Any) -> Body:
    """Neighbours without documents and special tokens as one lexeme."""
    whole = _tree(body)
    if whole is not None:
        return body if isinstance(body, Text) else _lexeme(whole)
    match body:
        case Seq(parts):
            found: list[Body] = []
            run: list[Node] = []
            for part in parts:
                tree = _tree(part)
                if tree is not None:
                    run.append(tree)
                    continue
                found += [_lexeme(Seq(tuple(run)))] if run else []
                found.append(_merged(part))
                run = []
            return seq(*found, *([_lexeme(Seq(tuple(run)))] if run else []))
        case Alt(options):
            trees = [one for option in options if (one := _tree(option)) is not None]
            mixed = [_merged(option) for option in options if _tree(option) is None]
            return alt(*([_lexeme(Alt(tuple(trees)))] if trees else []), *mixed)
        case Repeat(inner, low, high):
            return repeat(_merged(inner), low, high)
    found_body: Body = body
    return found_body


def _lexeme(tree: Node) -> Lexeme:
    if _size(tree) > MAX_MERGED:
        raise GrammarTooLarge("the tags are too large as one pattern")
    return Lexeme(tree)


def _size(tree: Node) -> int:
    match tree:
        case Seq(children) | Alt(children):
            return 1 + sum(map(_size, children))
        case Repeat(inner, _, _):
            return 1 + _size(inner)
    return 1


def _tree(body: Any) -> Node | None:
    """As a pattern; None for what holds a document or a special token."""
    match body:
        case Lexeme(tree, _):
            return tree
        case Text(text):
            return literal(text)
        case Repeat(inner, low, high):
            once = _tree(inner)
            return None if once is None else Repeat(once, low, high)
        case Seq(children) | Alt(children):
            trees = [one for child in children if (one := _tree(child)) is not None]
            if len(trees) == len(children):
                return Seq(tuple(trees)) if isinstance(body, Seq) else Alt(tuple(trees))
    return None


def _split(body: Any) -> Body:
    """All text in single characters."""
    match body:
        case Lexeme(tree, _):
            return _split(tree)
        case Text(text):
            return _split(literal(text))
        case Chars():
            return Lexeme(body)
        case Seq(children):
            return Seq(tuple(map(_split, children)))  # type: ignore[arg-type]
        case Alt(children):
            return Alt(tuple(map(_split, children))) if children else Lexeme(body)  # type: ignore[arg-type]
        case Repeat(inner, low, high):
            return repeat(_split(inner), low, high)
    found: Body = body
    return found
