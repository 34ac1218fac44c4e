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
