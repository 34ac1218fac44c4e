"""How a constraint is to be obeyed: fields beside it, or in the object that holds it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, get_args

import msgspec

from ..errors import GrammarError, GrammarTooLarge, UnsupportedGrammar
from .constraint import (
    Closing,
    Constraint,
    JsonObject,
    JsonSchema,
    OnUnsupported,
    Sequence,
    WhiteSpace,
    Xml,
)
from .field_values import bool_at, text_at

MAX_PATTERN_CHARS = 1000


class FoundConstraint(NamedTuple):
    """A constraint and where the client wrote it."""

    constraint: Constraint
    param: str
    """JSON path of the field, such as "response_format.json_schema.schema"."""
    said: Mapping[str, Any] = {}
    """What was said of how to obey it."""


class Option(NamedTuple):
    """One way of saying it."""

    topic: str
    """What it is about: two that say different things about one are refused."""
    read: Callable[[Any, str], Any]
    """Its value, checked; the text is its path."""
    apply: Callable[[Constraint, Any, str], Constraint]


def with_options(found: FoundConstraint, options: Mapping[str, Any], head: str) -> FoundConstraint:
    """The constraint with what was said of how to obey it; `head`: the path before an option's name."""
    for name, value in options.items():
        found = with_option(found, name, value, head + name)
    return found


def with_option(found: FoundConstraint, name: str, value: Any, param: str) -> FoundConstraint:
    """The constraint with one more said. Raises GrammarError where that cannot be, or was said otherwise."""
    option = OPTIONS[name]
    read = option.read(value, param)
    if found.said.get(option.topic, read) != read:
        raise GrammarError(
            f"{option.topic} is said twice: {found.said[option.topic]!r} and {read!r}; say it once",
            param=param,
            code="conflicting_constraints",
        )
    return FoundConstraint(option.apply(found.constraint, read, param), found.param, {**found.said, option.topic: read})


def white_space_of(pattern: Any, param: str) -> WhiteSpace:
    """The policy of ours whose every document vLLM's pattern of white space allows."""
    text = text_at(pattern, param)
    if len(text) > MAX_PATTERN_CHARS:
        raise GrammarTooLarge(f"a pattern of white space has at most {MAX_PATTERN_CHARS} characters", param=param)
    from .fsm.determinise import alphabet_of, determinise  # not before somebody asks: they take a while to import
    from .fsm.pattern import char_sets, parse
    from .fsm.utf8 import to_bytes

    try:
        tree = parse(text)
        alphabet = alphabet_of(char_sets(tree))
        dfa = to_bytes(determinise(tree, alphabet), alphabet)
    except GrammarError as error:
        error.param = param
        raise
    allows_none, allows_one = dfa.accepts(b""), dfa.accepts(b" ")
    if not allows_none:
        raise UnsupportedGrammar(
            "white space that must be there everywhere is not supported; use a pattern that may be empty",
            keyword="whitespace_pattern",
            param=param,
        )
    return "fixed" if allows_one else "compact"


def _one_of(value: Any, known: tuple[str, ...], param: str) -> str:
    if value not in known:
        raise GrammarError(f"must be one of {', '.join(known)}, found {value!r}", param=param)
    return str(value)


def _apply_white_space(constraint: Constraint, value: WhiteSpace, param: str) -> Constraint:
    if isinstance(constraint, Closing):
        return Closing(_apply_white_space(constraint.constraint, value, param))  # type: ignore[arg-type]
    if not isinstance(constraint, JsonSchema | JsonObject | Xml):
        raise UnsupportedGrammar("white space is an option of JSON and XML", keyword="whitespace", param=param)
    return msgspec.structs.replace(constraint, whitespace=value)


def _apply_unsupported(constraint: Constraint, value: OnUnsupported, param: str) -> Constraint:
    if isinstance(constraint, Closing):
        return Closing(_apply_unsupported(constraint.constraint, value, param))  # type: ignore[arg-type]
    if value == "error":
        return constraint
    if not isinstance(constraint, JsonSchema):
        raise UnsupportedGrammar(f"{value} is an option of JSON schemas", keyword="on_unsupported", param=param)
    return msgspec.structs.replace(constraint, on_unsupported=value)


def _apply_close(constraint: Constraint, value: bool, param: str) -> Constraint:
    if not value or isinstance(constraint, Closing):
        return constraint
    if isinstance(constraint, Sequence):
        raise UnsupportedGrammar("close is not an option of sequences", keyword="close", param=param)
    return Closing(constraint)


OPTIONS: dict[str, Option] = {
    "whitespace": Option("whitespace", lambda v, param: _one_of(v, get_args(WhiteSpace), param), _apply_white_space),
    "guided_whitespace_pattern": Option("whitespace", white_space_of, _apply_white_space),
    "on_unsupported": Option(
        "on_unsupported", lambda v, param: _one_of(v, get_args(OnUnsupported), param), _apply_unsupported
    ),
    "close": Option("close", bool_at, _apply_close),
}
"""By the names that they have beside a constraint."""

INNER_OPTIONS = OPTIONS.keys() - {"guided_whitespace_pattern"}
"""Those that may stand in the object that holds the constraint."""
