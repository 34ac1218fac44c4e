"""Grammars put together from parts, with captures: one generation, whose captured parts become values.

person = seq("Name: ", rx("[A-Z][a-z]+").capture("name"), ", age ", rx("[0-9]{1,2}").capture("age"))
s += gen("card", grammar=person); s["name"], s["age"]
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

from ..errors import ProgramError
from .dtype import apply_dtype
from .ir import SglConstantText, SglExpr, SglExprList, SglGen, SglSelect
from .sampling import SglSamplingParams

_groups = itertools.count()


class Grammar:
    """A set of texts, as a regular expression whose groups are captures."""

    def __init__(self, pattern: str, captures: tuple[tuple[str, str, Any], ...] = ()) -> None:
        self._pattern = pattern
        self._captures = captures
        """(group, name, dtype) of each capture; groups are unique in every grammar."""

    def capture(self, name: str, dtype: Any = None) -> Grammar:
        """The text of this part becomes the value of `name`, of the type `dtype`."""
        group = f"capture_{next(_groups)}"
        return Grammar(f"(?P<{group}>{self._pattern})", (*self._captures, (group, name, dtype)))

    def names(self) -> list[tuple[str, Any]]:
        """(name, dtype) of the captures."""
        return [(name, dtype) for _, name, dtype in self._captures]

    def regex(self) -> str:
        """For the model: without the groups' names."""
        return re.sub(r"\(\?P<capture_\d+>", "(", self._pattern)

    def read(self, text: str) -> dict[str, str | None]:
        """The captures in `text`; None for a part that is not in it. ProgramError for a text that does not fit."""
        found = re.fullmatch(self._pattern, text, re.DOTALL)
        if found is None:
            raise ProgramError(f"{text!r} does not fit its grammar; was it cut by max_tokens?")
        return {name: found.group(group) for group, name, _ in self._captures}

    def __repr__(self) -> str:
        return f"Grammar({self.regex()!r})"


def lit(text: str) -> Grammar:
    """This text."""
    return Grammar(re.sub(r"([\\.^$*+?{}\[\]|()])", r"\\\1", text))


def rx(pattern: str) -> Grammar:
    """A regular expression."""
    re.compile(pattern)
    return Grammar(f"(?:{pattern})")


def _as_grammar(part: str | Grammar) -> Grammar:
    return lit(part) if isinstance(part, str) else part


def _joined(parts: Iterator[Grammar] | list[Grammar], between: str) -> Grammar:
    made = list(parts)
    captures = tuple(capture for part in made for capture in part._captures)
    names = [name for _, name, _ in captures]
    if len(set(names)) < len(names):
        raise ValueError(f"a name is captured twice: {', '.join(names)}")
    return Grammar("(?:" + between.join(part._pattern for part in made) + ")", captures)


def seq(*parts: str | Grammar) -> Grammar:
    """The parts after each other; strings are themselves."""
    return _joined(map(_as_grammar, parts), "")


def alt(*parts: str | Grammar) -> Grammar:
    """One of the parts."""
    return _joined(map(_as_grammar, parts), "|")


def opt(part: str | Grammar) -> Grammar:
    """The part, or nothing."""
    inner = _as_grammar(part)
    return Grammar(f"(?:{inner._pattern})?", inner._captures)


def many(part: str | Grammar, at_least: int = 0, at_most: int | None = None) -> Grammar:
    """The part, several times; a capture in it has the last one's text."""
    inner = _as_grammar(part)
    return Grammar(f"(?:{inner._pattern}){{{at_least},{'' if at_most is None else at_most}}}", inner._captures)


def fused(expr: SglExpr) -> tuple[Grammar, int]:
    """Text and constrained gens as one grammar, with the sum of their max_tokens (0: they say none).

    ValueError for a gen that is not constrained, or that has options of its own.
    """
    parts: list[Grammar] = []
    tokens = 0
    for part in expr.expr_list if isinstance(expr, SglExprList) else [expr]:
        if isinstance(part, SglConstantText):
            parts.append(lit(part.value))
        elif isinstance(part, SglSelect):
            parts.append(_named(alt(*part.choices), part.name, None))
        elif isinstance(part, SglGen):
            made = apply_dtype(SglSamplingParams(dtype=part.sampling_params.dtype), native=True)
            pattern = part.sampling_params.regex or made.regex
            if pattern is None:
                raise ValueError(f"fuse takes gens with a regex, choices or a dtype that is one; {part!r} has none")
            parts.append(_named(rx(pattern), part.name, part.options.get("dtype")))
            tokens += part.sampling_params.max_new_tokens or 0
        else:
            raise ValueError(f"fuse takes text and gens, not {part!r}")
    return seq(*parts), tokens


def _named(part: Grammar, name: str | None, dtype: Any) -> Grammar:
    return part.capture(name, dtype) if name else part
