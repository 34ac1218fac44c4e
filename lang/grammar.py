"""Grammars put together from parts, with captures: one generation, whose captured parts become values.

    person = seq("Name: ", rx("[A-Z][a-z]+").capture("name"), ", age ", rx("[0-9]{1,2}").capture("age"))
    s += gen("card", grammar=person); s["name"], s["age"]

A grammar whose rules contain themselves, or that holds JSON or XML, is more than a regular expression; captures work
the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import GrammarError, ProgramError, UndefinedVariable
from .closed_schema import closed_text
from .dtype import apply_dtype, json_schema_of
from .grammar_tree import (
    Call,
    Capture,
    Either,
    Json,
    Pattern,
    Times,
    Together,
    Tree,
    Xml,
    captures_of,
    is_regular,
    pattern_of,
)
from .ir import SglConstantText, SglExpr, SglExprList, SglGen, SglSelect
from .sampling import SglSamplingParams
from .xml_model import spec_of


class Grammar:
    """A set of texts, some parts of which are captured."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree

    def capture(self, name: str, dtype: Any = None) -> Grammar:
        """The text of this part becomes the value of `name`, of the type `dtype`; of JSON, its own type."""
        if dtype is None and isinstance(self.tree, Json):
            dtype = self.tree.kind
        return Grammar(Capture(name, dtype, self.tree))

    def names(self) -> list[tuple[str, Any]]:
        """(name, dtype) of the captures. ValueError for a name that two parts have."""
        found = captures_of(self.tree)
        names = [capture.name for capture in found]
        if len(set(names)) < len(names):
            raise ValueError(f"a name is captured twice: {', '.join(names)}")
        return [(capture.name, capture.dtype) for capture in found]

    @property
    def is_regular(self) -> bool:
        """Whether a regular expression says all of it."""
        return is_regular(self.tree)

    def regex(self) -> str:
        """For the model, of a regular one."""
        return pattern_of(self.tree, None)

    def constraint(self) -> dict[str, Any]:
        """Of one that is not regular: a constrained.constraint value. ValueError for what no engine can serve."""
        from ..constrained.grammar.captures import unmarked
        from ..constrained.grammar.lexemes import as_text, productive
        from .grammar_rules import rules_of

        try:
            rules = productive(unmarked(rules_of(self.tree)))
            syntax, source = as_text(rules)
            return {"type": "grammar", "syntax": syntax, "source": source}
        except GrammarError as error:
            raise ValueError(error.message) from error

    def pattern(self) -> str:
        """Of a regular one: its expression with a group capture_0, capture_1 … for each of `names`."""
        groups = {id(capture): f"capture_{place}" for place, capture in enumerate(captures_of(self.tree))}
        return pattern_of(self.tree, groups)

    def read(self, text: str) -> dict[str, str | None]:
        """The captures in `text`; None for a part that is not in it. ProgramError for a text that does not fit."""
        return self._fitting(text, self._read_regular if self.is_regular else self._read_rules)

    @staticmethod
    def _fitting(text: str, read: Callable[[str], dict[str, str | None] | None]) -> dict[str, str | None]:
        found = read(text)
        if found is None:
            raise ProgramError(f"{text!r} does not fit its grammar; was it cut by max_tokens?")
        return found

    def capture_in(self, text: Any, place: int) -> str:
        """The capture that `names` has at `place`. UndefinedVariable where the text does not have it.

        text: as a gen gives it, perhaps a list. Bounded in time, whatever the grammar: it may come from anybody.
        """
        name = self.names()[place][0]
        found = self._fitting(str(text[0] if isinstance(text, list) else text), self._read_rules)[name]
        if found is None:
            raise UndefinedVariable(f"{name!r} is in no part of the text that was taken")
        return found

    def _read_regular(self, text: str) -> dict[str, str | None] | None:
        match = re.fullmatch(self.pattern(), text, re.DOTALL)
        return None if match is None else {name: match[f"capture_{i}"] for i, (name, _) in enumerate(self.names())}

    def _read_rules(self, text: str) -> dict[str, str | None] | None:
        from ..constrained.grammar.captures import find
        from .grammar_rules import rules_of

        try:
            places = find(rules_of(self.tree), text)
        except RecursionError:
            raise ProgramError("the text is nested too deeply for its captures to be read") from None
        except GrammarError as error:
            raise ProgramError(error.message) from error
        if places is None:
            return None
        values: dict[str, str | None] = dict.fromkeys(name for name, _ in self.names())
        return values | {place.name: text[place.begin : place.end] for place in places}

    def __repr__(self) -> str:
        return f"Grammar({self.regex()!r})" if self.is_regular else f"Grammar({self.tree!r})"


class Rule(Grammar):
    """A part that may contain itself: made first, defined then."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.body: Grammar | None = None
        super().__init__(Call(self))

    def define(self, body: str | Grammar) -> Rule:
        """What the rule stands for. Returns the rule."""
        self.body = _as_grammar(body)
        return self

    def __repr__(self) -> str:
        return f"Rule({self.name!r})"


def lit(text: str) -> Grammar:
    """This text."""
    return Grammar(Pattern(re.sub(r"([\\.^$*+?{}\[\]|()])", r"\\\1", text), text))


def rx(pattern: str) -> Grammar:
    """A regular expression."""
    re.compile(pattern)
    return Grammar(Pattern(f"(?:{pattern})", None))


_Body = Callable[["Rule"], str | Grammar]


def rule(name: str | _Body = "rule", body: str | Grammar | _Body | None = None) -> Rule:
    """A rule: `r = rule("expr"); r.define(…)`, or `rule("expr", lambda r: alt("x", seq("(", r, ")")))`."""
    if callable(name):
        name, body = "rule", name
    made = Rule(name)
    if body is None:
        return made
    return made.define(body(made) if callable(body) else body)


def json(schema: Any) -> Grammar:
    """A JSON document: of a schema (dict or text), or of a type such as a pydantic model."""
    kind = {} if isinstance(schema, (dict, str)) else schema
    return Grammar(Json(closed_text(schema if isinstance(schema, str) else json_schema_of(schema)), kind))


def xml(spec: Any, whitespace: str = "compact") -> Grammar:
    """An XML document: of a DTD, of elements as a dict, or of a pydantic model or dataclass (see gen's `xml`)."""
    return Grammar(Xml(spec_of(spec), whitespace))


def _as_grammar(part: str | Grammar) -> Grammar:
    return lit(part) if isinstance(part, str) else part


def _checked(tree: Tree) -> Grammar:
    made = Grammar(tree)
    made.names()
    return made


def seq(*parts: str | Grammar) -> Grammar:
    """The parts after each other; strings are themselves."""
    return _checked(Together(tuple(_as_grammar(part).tree for part in parts)))


def alt(*parts: str | Grammar) -> Grammar:
    """One of the parts."""
    return _checked(Either(tuple(_as_grammar(part).tree for part in parts)))


def opt(part: str | Grammar) -> Grammar:
    """The part, or nothing."""
    return Grammar(Times(_as_grammar(part).tree, 0, 1))


def many(part: str | Grammar, at_least: int = 0, at_most: int | None = None) -> Grammar:
    """The part, several times; a capture in it has the last one's text."""
    return Grammar(Times(_as_grammar(part).tree, at_least, at_most))


def fused(expr: SglExpr) -> tuple[Grammar, int]:
    """Text and constrained gens as one grammar, with the sum of their max_tokens (0: they say none).

    ValueError for a gen that is not constrained, or that has options of its own.
    """
    made = list(_fused_parts(expr.expr_list if isinstance(expr, SglExprList) else [expr]))
    return seq(*(part for part, _ in made)), sum(tokens for _, tokens in made)


def _fused_parts(exprs: list[SglExpr]) -> Iterator[tuple[Grammar, int]]:
    for part in exprs:
        if isinstance(part, SglConstantText):
            yield lit(part.value), 0
        elif isinstance(part, SglSelect):
            yield _named(alt(*part.choices), part.name, None), 0
        elif isinstance(part, SglGen):
            params = part.sampling_params
            made = apply_dtype(SglSamplingParams(dtype=params.dtype), native=True)
            pattern = params.regex or made.regex
            schema = params.json_schema or made.json_schema
            if part.options.get("grammar") is not None:
                inner: Grammar = part.options["grammar"]
            elif pattern is not None:
                inner = rx(pattern)
            elif schema is not None:
                inner = json(schema)
            else:
                raise ValueError(f"fuse takes gens with a constraint, choices or a dtype; {part!r} has none")
            yield _named(inner, part.name, part.options.get("dtype")), params.max_new_tokens or 0
        else:
            raise ValueError(f"fuse takes text and gens, not {part!r}")


def _named(part: Grammar, name: str | None, dtype: Any) -> Grammar:
    return part.capture(name, dtype) if name else part
