r"""Control characters in strings. Answers write them as `\n` and its like only, unless a constant holds another.

llguidance 1.9.1 loses what it cannot write: of the enum `a` + U+007F it makes `a`, and `^.*[\x{1}].*$` then takes any
string. With `\uXXXX` it writes all of them, but reads any letter so in a name that is not listed: such a name may be a
listed one.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

from ..fsm.charset import Ranges, complement, ranges_of
from ..fsm.pattern import EMPTY, NOTHING, Alt, Chars, Node, Repeat, Seq
from .inside import DATA, inner_schemas
from .refusal import unsupported

_UNWRITTEN: Ranges = ((0x00, 0x07), (0x0B, 0x0B), (0x0E, 0x1F), (0x7F, 0x7F))
_MAYBE = re.compile(r"\\u00(?:[01]|7f)")
"""In JSON text as Python writes it: without it, no string holds such a character."""
_HELD = re.compile(r"[\x00-\x07\x0b\x0e-\x1f\x7f]")
_SPELLED = re.compile(
    r"[\x00-\x07\x0b\x0e-\x1f\x7f]|\\[pP]\{?C|\\[avc]|\\[xuU]\{?0*(?:[01]?[0-9a-fA-F]|7[fF])(?![0-9a-fA-F])"
)
"""In a pattern's source: a control character, or a class of them; a few others besides."""


def writable(node: Node) -> Node:
    """The tree without characters that strings are written without."""
    match node:
        case Chars(ranges):
            left = _without_controls(ranges)
            return Chars(left) if left else NOTHING
        case Seq(parts):
            kept = tuple(map(writable, parts))
            return NOTHING if NOTHING in kept else Seq(kept)
        case Alt(options):
            return Alt(tuple(option for option in map(writable, options) if option != NOTHING))
        case Repeat(inner, low, high):
            once = writable(inner)
            if once != NOTHING:
                return Repeat(once, low, high)
            return NOTHING if low else EMPTY
    return node


@lru_cache(maxsize=1024)
def _without_controls(ranges: Ranges) -> Ranges:
    return complement(ranges_of([*complement(ranges), *_UNWRITTEN]))


def may_spell(pattern: str) -> bool:
    """Whether a pattern in words that only the engine knows may ask for a control character."""
    return _SPELLED.search(pattern) is not None


def escapes(text: str) -> str:
    """What may follow a backslash in the strings of a normalised schema's documents; `text`: the schema in ASCII.

    Raises UnsupportedGrammar where a constant holds a control character and names that are not listed are free.
    """
    if _MAYBE.search(text) is None or not _has_constant(schema := json.loads(text)):
        return 'nrbtf\\"'
    if _has_free_names(schema):
        raise unsupported(
            "a constant with a control character is served where objects list all their properties only; add "
            "additionalProperties: false",
            "enum",
            "#",
        )
    return 'nrbtf\\"u'


def _has_constant(schema: Any) -> bool:
    """Whether a constant in a schema holds a string with a control character; names need no escapes."""
    if not isinstance(schema, dict):
        return False
    return any(_holds(schema[key]) for key in DATA if key in schema) or any(map(_has_constant, inner_schemas(schema)))


def _holds(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds, value.values()))
    if isinstance(value, list):
        return any(map(_holds, value))
    return isinstance(value, str) and _HELD.search(value) is not None


def _has_free_names(schema: Any) -> bool:
    """Whether an object may have names beside those that it lists."""
    if not isinstance(schema, dict):
        return False
    lists = bool(schema.get("properties") or schema.get("patternProperties"))
    is_free = lists and schema.get("additionalProperties") is not False
    return is_free or any(map(_has_free_names, inner_schemas(schema)))
