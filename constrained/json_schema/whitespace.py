"""How much white space a document may hold. Models that may write any write it without end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..constraint import WhiteSpace

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
    """The options for a schema written as `text`.

    Strings are written without `\\uXXXX`: an escaped letter would let a key repeat one that is listed, and half a
    surrogate pair is no character. Schemas that hold control characters themselves need them.
    """
    has_controls = any(f"\\u00{high}" in text.lower() for high in "01")
    return {**ENGINE_OPTIONS[whitespace], "json_allowed_escapes": 'nrbtf\\"u' if has_controls else 'nrbtf\\"'}
