"""What parts of a grammar a text has: rules with marked parts, and the places where a text has those.

A text that several derivations fit is read by the first: earlier alternatives, longer repetitions. Rules that begin
with themselves have no such reading and are refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from ...errors import UnsupportedGrammar
from ..fsm.pattern import Alt, Chars, Repeat, Seq
from .reader import START_RULE, Json, Part, Ref, Rules
from .regular import is_nullable

_decoder = json.JSONDecoder()
MAX_STEPS = 300_000
"""Ends of parts that are looked at in one text: less than a second."""


class Marked(NamedTuple):
    """A part whose place is wanted under a name."""

    name: str
    part: Any


class Found(NamedTuple):
    """Where a marked part is: text[begin:end]."""

    name: str
    begin: int
    end: int


def unmarked(rules: dict[str, Any]) -> Rules:
    """The grammar without its marks. Raises UnsupportedGrammar for a rule that begins with itself."""
    plain: Rules = {name: _strip(body) for name, body in rules.items()}
    _check_left(plain)
    return plain


def _strip(part: Any) -> Part:
    match part:
        case Marked(_, inner):
            return _strip(inner)
        case Seq(parts):
            return Seq(tuple(_strip(p) for p in parts))  # type: ignore[misc]
        case Alt(options):
            return Alt(tuple(_strip(p) for p in options))  # type: ignore[misc]
        case Repeat(inner, low, high):
            return Repeat(_strip(inner), low, high)  # type: ignore[arg-type]
    found: Part = part
    return found


def _check_left(rules: Rules) -> None:
    nullable: set[str] = set()
    while True:
        grown = {name for name, body in rules.items() if _is_empty(body, nullable)}
        if grown == nullable:
            break
        nullable = grown
    first = {name: _leading(body, nullable) for name, body in rules.items()}
    for name in rules:
        reached, stack = set[str](), list(first[name])
        while stack:
            other = stack.pop()
            if other not in reached:
                reached.add(other)
                stack.extend(first.get(other, ()))
        if name in reached:
            raise UnsupportedGrammar(
                f"rule {name!r} begins with itself; put what it begins with first, and repeat the rest", keyword="rule"
            )


def _is_empty(part: Any, nullable: set[str]) -> bool:
    match part:
        case Ref(name):
            return name in nullable
        case Json():
            return False
        case Seq(parts):
            return all(_is_empty(p, nullable) for p in parts)
        case Alt(options):
            return any(_is_empty(p, nullable) for p in options)
        case Repeat(inner, low, _):
            return low == 0 or _is_empty(inner, nullable)
    return is_nullable(part)


def _leading(part: Any, nullable: set[str]) -> set[str]:
    """Rules with which the part may begin."""
    match part:
        case Ref(name):
            return {name}
        case Seq(parts):
            found: set[str] = set()
            for p in parts:
                found |= _leading(p, nullable)
                if not _is_empty(p, nullable):
                    break
            return found
        case Alt(options):
            return set().union(*(_leading(p, nullable) for p in options))
        case Repeat(inner, _, _):
            return _leading(inner, nullable)
    return set()


def find(rules: dict[str, Any], text: str) -> list[Found] | None:
    """The marked parts of `text` in the order of their ends; None for a text that the grammar does not have.

    Raises RecursionError for one that is nested too deeply, and UnsupportedGrammar where finding them takes more than
    MAX_STEPS: grammars and texts may come from anybody.
    """
    reader = _Reader(rules, text)
    start = Ref(START_RULE)
    if len(text) not in reader.ends(start, 0):
        return None
    return list(reader.walk(start, 0, len(text)))


class _Reader:
    """Of one text. `ends` remembers; `walk` follows what it says, so that it never tries in vain."""

    def __init__(self, rules: dict[str, Any], text: str) -> None:
        self.rules = rules
        self.text = text
        self.known: dict[tuple[int, int], list[int]] = {}
        self.steps = 0

    def ends(self, part: Any, begin: int) -> list[int]:
        """Where the part may end if it begins there, the preferred end first."""
        key = (id(part), begin)
        found = self.known.get(key)
        if found is None:
            if isinstance(part, Ref):
                part = self.rules[part.name]
                found = self.ends(part, begin)
            else:
                found = list(dict.fromkeys(self._ends(part, begin)))
            self.known[key] = found
            self._count_steps(1 + len(found))
        return found

    def _count_steps(self, number: int) -> None:
        self.steps += number
        if self.steps > MAX_STEPS:
            raise UnsupportedGrammar("the captures of this text take too long to read: it has too many readings")

    def _ends(self, part: Any, begin: int) -> Iterator[int]:
        match part:
            case Chars(ranges):
                if begin < len(self.text) and _holds(ranges, ord(self.text[begin])):
                    yield begin + 1
            case Marked(_, inner):
                yield from self.ends(inner, begin)
            case Json():
                try:
                    yield _decoder.raw_decode(self.text, begin)[1]
                except ValueError:
                    return
            case Alt(options):
                for option in options:
                    yield from self.ends(option, begin)
            case Seq(parts):
                yield from self._chain(parts, begin)
            case Repeat(inner, low, high):
                yield from self._times(inner, low, high, begin)

    def _chain(self, parts: tuple[Any, ...], begin: int) -> Iterator[int]:
        reached = [begin]
        for part in parts:
            reached = list(dict.fromkeys(end for place in reached for end in self.ends(part, place)))
        yield from reached

    def _times(self, inner: Any, low: int, high: int | None, begin: int) -> list[int]:
        """Longest first."""
        levels: list[list[int]] = [[begin]]
        seen = {begin}
        while high is None or len(levels) <= high:
            reached = list(dict.fromkeys(end for place in levels[-1] for end in self.ends(inner, place)))
            self._count_steps(len(reached))
            if len(levels) > low:  # beyond the least number only what is new leads anywhere
                reached = [end for end in reached if end not in seen]
            if not reached:
                break
            seen.update(reached)
            levels.append(reached)
        if len(levels) <= low:
            return []
        return [end for level in reversed(levels[low:]) for end in level]

    def walk(self, part: Any, begin: int, end: int) -> Iterator[Found]:
        """The marks of one reading of text[begin:end] as `part`, which `ends` says is one."""
        self._count_steps(1)
        match part:
            case Ref(name):
                yield from self.walk(self.rules[name], begin, end)
            case Marked(name, inner):
                yield from self.walk(inner, begin, end)
                yield Found(name, begin, end)
            case Alt(options):
                yield from self.walk(next(o for o in options if end in self.ends(o, begin)), begin, end)
            case Seq(parts):
                yield from self._walk_chain(list(parts), begin, end)
            case Repeat(inner, low, high):
                count = self._count(inner, low, high, begin, end)
                yield from self._walk_chain([inner] * count, begin, end)

    def _count(self, inner: Any, low: int, high: int | None, begin: int, end: int) -> int:
        """Fewest repetitions, `low` at least, that end there."""
        reached, count = {begin}, 0
        while count < low or end not in reached:
            reached = {after for place in reached for after in self.ends(inner, place)}
            self._count_steps(len(reached))
            count += 1
            assert high is None or count <= high
        return count

    def _walk_chain(self, parts: list[Any], begin: int, end: int) -> Iterator[Found]:
        """Forward where each part may end, backward which of those lead to `end`, then along the preferred ones."""
        levels = [[begin]]
        for part in parts:
            levels.append(list(dict.fromkeys(after for place in levels[-1] for after in self.ends(part, place))))
        good = [{end}]
        for part, level in zip(reversed(parts), reversed(levels[:-1]), strict=True):
            good.append({place for place in level if good[-1].intersection(self.ends(part, place))})
        good.reverse()
        place = begin
        for part, allowed in zip(parts, good[1:], strict=True):
            after = next(e for e in self.ends(part, place) if e in allowed)
            yield from self.walk(part, place, after)
            place = after


def _holds(ranges: Any, code: int) -> bool:
    return any(low <= code <= high for low, high in ranges)
