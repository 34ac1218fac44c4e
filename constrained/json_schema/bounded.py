"""Bounds of a string's length written into its pattern, where the pattern says how: `[a-z]\\w*` of at most 9 is
`[a-z]\\w{0,8}`.

The engine would intersect the two, and then no set of words is known to fit as a whole: it looks at each of them for a
mask, which takes five times as long.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from ...errors import GrammarError
from ..fsm.fallback import to_engine
from ..fsm.pattern import EMPTY, Chars, Node, Repeat, Seq
from .inside import DATA, NAMED
from .patterns import REMEMBERED
from .roomy import roomy_pattern, with_roomy_format, written_tree


def bounded(schema: Any) -> Any:
    """The same documents, of a normalised schema."""
    if not isinstance(schema, dict):
        return [bounded(inner) for inner in schema] if isinstance(schema, list) else schema
    out: dict[str, Any] = {}
    for key, value in schema.items():
        if key in NAMED and isinstance(value, dict):
            out[key] = {name: with_roomy_format(bounded(inner)) for name, inner in value.items()}
        elif key in ("items", "prefixItems", "additionalProperties", "anyOf"):
            inner = bounded(value)
            out[key] = [*map(with_roomy_format, inner)] if isinstance(inner, list) else with_roomy_format(inner)
        else:
            out[key] = value if key in DATA else bounded(value)
    pattern, most = out.get("pattern"), out.get("maxLength")
    if isinstance(pattern, str) and isinstance(most, int):
        within = _within(pattern, out.get("minLength", 0), most)
        if within is not None:
            out = {key: value for key, value in out.items() if key not in ("minLength", "maxLength")}
            out["pattern"] = pattern = within
    if isinstance(pattern, str):
        out["pattern"] = roomy_pattern(pattern)
    return out


@lru_cache(maxsize=REMEMBERED)
def _within(pattern: str, least: int, most: int) -> str | None:
    """The pattern's texts of `least` to `most` characters; None: it has more than one place that may grow, or none."""
    tree = written_tree(pattern)
    if tree is None:
        return None
    try:
        parts = _flat(tree)
        growing = [i for i, part in enumerate(parts) if isinstance(part, Repeat) and part.low != part.high]
        if len(growing) != 1:
            return None
        place = growing[0]
        others = parts[:place] + parts[place + 1 :]
        if not all(map(_is_plain, others)):
            return None
        fixed = sum(part.low if isinstance(part, Repeat) else 1 for part in others)
        within = _grown(parts[place], least - fixed, most - fixed)
        if within is None:
            return None
        parts[place] = within
        return f"^(?:{to_engine(Seq(tuple(parts)))})$"
    except GrammarError:
        return None


def _grown(part: Node, least: int, most: int) -> Node | None:
    """The texts of what grows that have `least` to `most` characters; None: there are none, or it is not known how."""
    match part:
        case Repeat(Chars() as inner, low, high):
            low, high = max(low, least), most if high is None else min(high, most)
            return None if high < low else Repeat(inner, low, high)
        case Repeat(Seq((Repeat(Chars(), _, _) as more, Chars() as last)), 0, 1):  # as in `\w(?:[\w-]*\w)?`
            ended = _grown(more, least - 1, most - 1)
            if ended is None:
                return EMPTY if least <= 0 <= most else None
            both = Seq((ended, last))
            return Repeat(both, 0, 1) if least <= 0 else both
    return None


def _flat(tree: Node) -> list[Node]:
    return [part for child in tree.parts for part in _flat(child)] if isinstance(tree, Seq) else [tree]


def _is_plain(part: Node) -> bool:
    """Whether each of its rounds is a character."""
    return isinstance(part, Chars) or (isinstance(part, Repeat) and isinstance(part.node, Chars))
