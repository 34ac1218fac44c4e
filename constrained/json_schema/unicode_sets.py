r"""Sets of characters that patterns name: `\p{L}`, `\p{Letter}`, `\P{gc=Nd}`.

What no version of Unicode has assigned yet is in no set and in no complement: another validator's may have.
"""

from __future__ import annotations

import unicodedata
from functools import cache, lru_cache

from ..fsm.charset import Ranges, ranges_of

_UNASSIGNED = "Cn"
_ASSIGNED = ((0x0, 0x3FFFF), (0xE0000, 0xEFFFF))
"""Planes of which Unicode has assigned something; two more are private for ever."""
_PRIVATE = ((0xF0000, 0xFFFFD), (0x100000, 0x10FFFD))
_LONG = (
    "L Letter|LC Cased_Letter|Lu Uppercase_Letter|Ll Lowercase_Letter|Lt Titlecase_Letter|Lm Modifier_Letter|"
    "Lo Other_Letter|M Mark|M Combining_Mark|Mn Nonspacing_Mark|Mc Spacing_Mark|Me Enclosing_Mark|N Number|"
    "Nd Decimal_Number|Nd digit|Nl Letter_Number|No Other_Number|P Punctuation|P punct|Pc Connector_Punctuation|"
    "Pd Dash_Punctuation|Ps Open_Punctuation|Pe Close_Punctuation|Pi Initial_Punctuation|Pf Final_Punctuation|"
    "Po Other_Punctuation|S Symbol|Sm Math_Symbol|Sc Currency_Symbol|Sk Modifier_Symbol|So Other_Symbol|Z Separator|"
    "Zs Space_Separator|Zl Line_Separator|Zp Paragraph_Separator|C Other|Cc Control|Cc cntrl|Cf Format|Co Private_Use"
)
_SHORT = {
    name: short for short, _, long in (pair.partition(" ") for pair in _LONG.split("|")) for name in (short, long)
}


def members_text(name: str, *, is_negated: bool) -> str | None:
    """The set as what stands between the brackets of a class of Python's; None: it is not a general category."""
    short = _SHORT.get(name.removeprefix("General_Category=").removeprefix("gc="))
    return None if short is None else _text(short, is_negated)


@lru_cache(maxsize=128)
def _text(short: str, is_negated: bool) -> str:
    wanted = {"Lu", "Ll", "Lt"} if short == "LC" else {kind for kind in _runs() if kind.startswith(short)}
    kinds = (_runs().keys() - wanted if is_negated else wanted) - {_UNASSIGNED}
    ranges: Ranges = ranges_of([run for kind in kinds for run in _runs()[kind]])
    return "".join(_escaped(low) + (f"-{_escaped(high)}" if high > low else "") for low, high in ranges)


def _escaped(code: int) -> str:
    return chr(code) if code > 0x7F or chr(code).isalnum() else f"\\x{code:02x}"


@cache
def _runs() -> dict[str, list[tuple[int, int]]]:
    """Runs of characters of each category; takes 50 ms."""
    found: dict[str, list[tuple[int, int]]] = {"Co": list(_PRIVATE)}
    for first, last in _ASSIGNED:
        low, kind = first, unicodedata.category(chr(first))
        for code in range(first + 1, last + 2):
            here = unicodedata.category(chr(code)) if code <= last else ""
            if here != kind:
                found.setdefault(kind, []).append((low, code - 1))
                low, kind = code, here
    return found
