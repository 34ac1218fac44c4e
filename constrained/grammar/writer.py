"""Rules of a grammar as EBNF text, the inverse of the reader: for people, and for engines elsewhere."""

from __future__ import annotations

import re

from ..fsm.charset import ALL, Ranges, complement
from ..fsm.pattern import Alt, Chars, Look, Repeat, Seq
from .reader import Part, Ref, Rules

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*")
_IN_CLASS = "]\\^-["
_MARKS = {(0, 1): "?", (0, None): "*", (1, None): "+"}


def write(rules: Rules) -> str:
    """One rule a line; rules whose names EBNF cannot spell are numbered. ValueError for what looks ahead or behind."""
    names = {
        name: name if _PLAIN.fullmatch(name) else re.sub(r"[^A-Za-z0-9]+", "_", f"{name}_{place}")
        for place, name in enumerate(rules)
    }
    return "".join(f"{names[name]} ::= {_alternatives(body, names)}\n" for name, body in rules.items())


def _alternatives(part: Part, names: dict[str, str]) -> str:
    if isinstance(part, Alt) and part.options:
        return " | ".join(_sequence(option, names) for option in part.options)
    return _sequence(part, names)


def _sequence(part: Part, names: dict[str, str]) -> str:
    if not isinstance(part, Seq):
        return _element(part, names)
    if not part.parts:
        return '""'
    written: list[str] = []
    literal = ""
    for child in part.parts:
        letter = _letter(child)
        if letter is not None:
            literal += letter
            continue
        if literal:
            written.append(f'"{literal}"')
        literal = ""
        written.append(_element(child, names))
    if literal:
        written.append(f'"{literal}"')
    return " ".join(written)


def _element(part: Part, names: dict[str, str]) -> str:
    match part:
        case Ref(name):
            return names[name]
        case Chars(ranges):
            letter = _letter(part)
            return f'"{letter}"' if letter is not None else _class(ranges)
        case Repeat(inner, low, high):
            mark = _MARKS.get((low, high)) or (
                f"{{{low}}}" if low == high else f"{{{low},{'' if high is None else high}}}"
            )
            return f"{_element(inner, names)}{mark}"
        case Look():
            raise ValueError("lookarounds cannot be written as EBNF")
    if part == Alt(()):
        return "[]"
    return f"({_alternatives(part, names)})"


def _letter(part: Part) -> str | None:
    """The escaped character of a part that is one character."""
    if isinstance(part, Chars) and len(part.ranges) == 1 and part.ranges[0][0] == part.ranges[0][1]:
        return _spell(part.ranges[0][0], '"\\')
    return None


def _class(ranges: Ranges) -> str:
    if ranges == ALL:
        return "."
    outside = complement(ranges)
    shown, mark = (outside, "^") if len(outside) < len(ranges) else (ranges, "")
    ends = [(_spell(low, _IN_CLASS), _spell(high, _IN_CLASS)) for low, high in shown]
    return f"[{mark}{''.join(low if low == high else f'{low}-{high}' for low, high in ends)}]"


def _spell(code: int, special: str) -> str:
    character = chr(code)
    if character in special:
        return f"\\{character}"
    if character == "\n":
        return "\\n"
    if 32 <= code < 127:
        return character
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
