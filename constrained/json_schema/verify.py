"""Schemas that no mask enforces exactly: the closest wider grammar, and a validator's verdict on what it generates.

`on_unsupported: "verify"`. Keywords that cannot be served are left out of the grammar, one after the other, until the
rest can; a keyword whose narrower half would be left behind (under `not`, `if`, `oneOf`) falls with its parent.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import regex

from ...errors import GrammarTooLarge, UnsatisfiableGrammar, UnsupportedGrammar
from ..fsm.pattern import Alt, Look, Node, Repeat, Seq
from .cursor import JsonCursor, Path
from .document import parse
from .normalise import normalise
from .patterns import ecma_to_python, search_tree
from .references import escape
from .refusal import unsupported

MAX_DROPPED = 200
PATTERN_TIMEOUT_S = 0.05


class Widened(NamedTuple):
    """The closest schema that is served and accepts whatever the given one does."""

    schema: dict[str, Any] | bool
    ignored: tuple[str, ...]
    """Annotations, as ever."""
    left_out: tuple[str, ...]
    """JSON pointers of what the validator alone enforces."""


def widen(text: str, *, strict: bool = False) -> Widened:
    """Leaves out what is not served.

    Raises the GrammarError of a schema that is wrong rather than not served.
    """
    document = parse(text)
    dropped: list[str] = []
    while True:
        try:
            found = normalise(json.dumps(document), strict=strict)
        except (UnsatisfiableGrammar, RecursionError):
            raise
        except (UnsupportedGrammar, GrammarTooLarge) as error:
            pointer = _drop(document, error) if len(dropped) < MAX_DROPPED else None
            if pointer is None:
                raise
            dropped.append(pointer)
            continue
        return Widened(found.schema, found.ignored, tuple(dict.fromkeys(dropped)))


def _drop(document: Any, error: UnsupportedGrammar) -> str | None:
    """Takes the keyword out of the document; its pointer, None if the error is not about one that may go."""
    if error.code == "invalid_schema" or not error.pointer or not error.keyword:
        return None
    steps = [step.replace("~1", "/").replace("~0", "~") for step in error.pointer.split("/")[1:]]
    chain: list[tuple[Any, str]] = []  # (container, step) down to the keyword
    node = document
    for step in steps:
        chain.append((node, step))
        if isinstance(node, dict) and step in node:
            node = node[step]
        elif isinstance(node, list) and step.isdecimal() and int(step) < len(node):
            node = node[int(step)]
        else:
            break
    keywords = [i for i, (holder, step) in enumerate(chain) if isinstance(holder, dict) and step in holder]
    negative = next((i for i in keywords if chain[i][1] in ("not", "if", "oneOf") and _is_schema(chain, i)), None)
    place = negative
    if place is None:
        place = next((i for i in reversed(keywords) if chain[i][1] == error.keyword), None)
    if place is None:
        return None
    holder, key = chain[place]
    if key == "oneOf":
        holder.setdefault("allOf", []).append({"anyOf": holder.pop("oneOf")})
    elif key == "if":
        for name in ("if", "then", "else"):
            holder.pop(name, None)
    else:
        del holder[key]
    return "#" + "".join("/" + step.replace("~", "~0").replace("/", "~1") for _, step in chain[: place + 1])


def _is_schema(chain: list[tuple[Any, str]], place: int) -> bool:
    """Whether the step is a keyword there, and not the name of a property."""
    return place == 0 or chain[place - 1][1] not in ("properties", "patternProperties", "$defs", "definitions")


def verdict_of(text: str) -> Callable[[bytes], int | None]:
    """Judges documents by the whole schema: where the first bad value ends, None for a valid one.

    Raises UnsupportedGrammar where no validator is installed.
    """
    try:
        import jsonschema
        import referencing.jsonschema
    except ImportError:
        raise unsupported('verify needs a validator: pip install "radixlang[verify]"', "on_unsupported", "#") from None
    schema = parse(text)
    _check_names(schema, "#")
    base = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    checked = jsonschema.validators.extend(base, {"pattern": _pattern})
    registry = referencing.jsonschema.EMPTY_REGISTRY  # nothing is ever fetched
    validator = checked(schema, registry=registry)

    def verdict(document: bytes) -> int | None:
        try:
            value = json.loads(document)
            faults = [tuple(error.absolute_path) for error in validator.iter_errors(value)]
        except (ValueError, RecursionError, TimeoutError, referencing.exceptions.Unresolvable):
            return len(document)
        if not faults:
            return None
        ends = _ends(document)
        return min(ends.get(path, len(document)) for path in faults)

    return verdict


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Any:
    """`pattern`, with a limit in time: the engine has enforced it already where it could."""
    import jsonschema

    if not validator.is_type(instance, "string"):
        return
    try:
        found = regex.search(ecma_to_python(pattern), instance, timeout=PATTERN_TIMEOUT_S)
    except regex.error:
        found = None
    if found is None:
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern!r}")


def _check_names(node: Any, pointer: str) -> None:
    """The validator reads `patternProperties` with a backtracking engine: refuses what may take it for ever."""
    if isinstance(node, dict):
        patterns = node.get("patternProperties")
        for pattern in patterns if isinstance(patterns, dict) else ():
            if _nests_repeats(search_tree(pattern), False):
                message = f"the name pattern {pattern!r} repeats a repetition, which verify does not take"
                raise unsupported(message, "patternProperties", f"{pointer}/patternProperties")
        for key, inner in node.items():
            _check_names(inner, f"{pointer}/{escape(key)}")
    elif isinstance(node, list):
        for i, inner in enumerate(node):
            _check_names(inner, f"{pointer}/{i}")


def _nests_repeats(node: Node, inside: bool) -> bool:
    match node:
        case Repeat(inner, _, high):
            repeats = high is None or high > 1
            return (inside and repeats) or _nests_repeats(inner, inside or repeats)
        case Seq(children) | Alt(children):
            return any(_nests_repeats(child, inside) for child in children)
        case Look(inner, _, _):
            return _nests_repeats(inner, inside)
    return False


def _ends(document: bytes) -> dict[Path, int]:
    cursor = JsonCursor()
    return {value.path: value.end for value in (*cursor.feed(document), *cursor.finish())}
