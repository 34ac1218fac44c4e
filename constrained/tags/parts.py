"""What structural tags are made of: parts of their JSON, checked, and the texts between tags as patterns."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from ...errors import GrammarTooLarge, UnsupportedGrammar
from ..fsm.pattern import ANY, Node, Repeat, Seq
from ..json_schema.names import both
from ..json_schema.patterns import flatten
from ..json_schema.refusal import invalid, unsatisfiable
from ..json_schema.strings import ANYTHING, literal


def excluded(spec: dict[str, Any], pointer: str) -> list[str]:
    """Texts that free text must not hold."""
    where = f"{pointer}/excludes"
    texts = [as_text(t, f"{where}/{i}") for i, t in enumerate(as_list(spec.get("excludes") or [], where))]
    if not all(texts):
        raise invalid("an excluded text must not be empty", "excludes", where)
    return texts


def check_reachable(wanted: list[str], excludes: list[str], pointer: str) -> None:
    """Raises UnsatisfiableGrammar where a trigger or an end holds a text that must not come before it ends."""
    for text in wanted:
        for i, other in enumerate(excludes):
            if other in text:
                message = f"{other!r} is excluded and a part of {text!r}, which could never come"
                raise unsatisfiable(message, "excludes", f"{pointer}/excludes/{i}")


def is_unambiguous(spec: Any) -> bool:
    """Of a valid format whether it is text in which triggers begin tags of documents, constants or free text, or one
    such tag: nothing in it can be taken for what follows, but numbers. Many tools are told apart so at no cost."""
    kind = spec.get("type")
    tags = spec["tags"] if kind == "triggered_tags" else [spec] if kind == "tag" else []
    kinds = {tag["content"]["type"] for tag in tags}
    if any(isinstance(tag.get("end"), list) and len(tag["end"]) > 1 for tag in tags):
        return False  # one end may begin like another
    return kind == "json_schema" or (bool(tags) and kinds <= {"json_schema", "const_string", "any_text"})


def _contains(text: str) -> Node:
    return Seq((ANYTHING, literal(text), ANYTHING))


def some_text(triggers: list[str]) -> Node:
    """Text of at least a character in which no trigger occurs."""
    some = Repeat(ANY, 1, None)
    return both([some], [_contains(t) for t in triggers]) if triggers else some


def until(trigger: str, triggers: list[str]) -> Node:
    """Text that ends with the trigger, the first that occurs in it."""
    before: list[Node] = [Seq((_contains(t), ANY)) for t in triggers]
    return both([Seq((ANYTHING, literal(trigger)))], before)


def sparse(tree: Node, pointer: str) -> Node:
    """A tree without lookarounds."""
    try:
        return flatten(tree)
    except GrammarTooLarge as error:
        raise GrammarTooLarge(error.message, keyword="pattern", pointer=pointer) from None


def check_apart(begins: list[str], pointer: str) -> None:
    ordered = sorted(begins)
    for one, other in pairwise(ordered):
        if other.startswith(one):
            raise UnsupportedGrammar(
                f"one tag begins with {one!r}, another with {other!r}: which it is cannot be told",
                keyword="begin",
                pointer=pointer,
            )


def as_list(value: Any, pointer: str) -> list[Any]:
    if not isinstance(value, list):
        raise invalid("a list is expected here", pointer.rsplit("/", 1)[-1], pointer)
    return value


def as_flag(spec: dict[str, Any], name: str, pointer: str) -> bool:
    value = spec.get(name)
    if value is not None and not isinstance(value, bool):
        raise invalid("true or false is expected here", name, f"{pointer}/{name}")
    return value is True


def as_text(value: Any, pointer: str) -> str:
    if not isinstance(value, str):
        raise invalid("a string is expected here", pointer.rsplit("/", 1)[-1], pointer)
    return value
