"""How much white space a document may hold. Models that may write any write it without end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..constraint import WhiteSpace
from .controls import escapes

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions

ENGINE_OPTIONS: dict[WhiteSpace, JsonCompileOptions] = {
    "compact": {"item_separator": ",", "key_separator": ":", "whitespace_flexible": False},
    "fixed": {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False},
    # At each place one character or none: indentation and newline floods cannot be written.
    "flexible": {"item_separator": ",", "key_separator": ":", "whitespace_pattern": r"[\x20\x0A]"},
}
"""llguidance's options for each policy."""


def engine_options(whitespace: WhiteSpace, text: str) -> JsonCompileOptions:
    """The options for a normalised schema, written as `text` in ASCII. Raises as `escapes`.

    Strings are written without `\\uXXXX` where that can be: an escaped letter would let a key repeat a listed one, and
    half a surrogate pair is no character.
    """
    return {**ENGINE_OPTIONS[whitespace], "json_allowed_escapes": escapes(text)}
