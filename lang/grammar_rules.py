"""A program's grammar as rules with marked parts: what engines are told and captures are read with."""

from __future__ import annotations

from typing import Any

from ..constrained.fsm.pattern import Alt, Chars, Repeat, Seq, has_look, parse
from ..constrained.grammar.captures import Marked
from ..constrained.grammar.reader import START_RULE, Ref
from ..constrained.grammar.reader import Json as JsonPart
from ..constrained.grammar.xml import rules_of as xml_rules
from ..errors import UnsupportedGrammar
from .grammar_tree import Call, Capture, Either, Json, Pattern, Times, Together, Tree, Xml


def rules_of(tree: Tree) -> dict[str, Any]:
    """The rules, from `root`. Raises a GrammarError for a part that no engine serves."""
    writer = _Writer()
    writer.rules[START_RULE] = writer.part(tree)
    return writer.rules


class _Writer:
    def __init__(self) -> None:
        self.rules: dict[str, Any] = {}
        self.names: dict[int, str] = {}

    def part(self, tree: Tree) -> Any:
        match tree:
            case Pattern(pattern, text):
                return _literal(text) if text is not None else _pattern(pattern)
            case Together(parts):
                return Seq(tuple(self.part(part) for part in parts))
            case Either(parts):
                return Alt(tuple(self.part(part) for part in parts))
            case Times(inner, low, high):
                return Repeat(self.part(inner), low, high)
            case Capture(name, _, inner):
                return Marked(name, self.part(inner))
            case Json(schema, _):
                return JsonPart(schema)
            case Xml():
                return self.xml(tree)
            case Call(rule):
                return self.call(rule)
        raise AssertionError(tree)

    def call(self, rule: Any) -> Ref:
        if id(rule) not in self.names:
            is_free = rule.name not in self.rules
            name = self.names[id(rule)] = rule.name if is_free else f"{rule.name} {len(self.names)}"
            if rule.body is None:
                raise UnsupportedGrammar(f"rule {rule.name!r} was never defined: call its define()", keyword="rule")
            self.rules[name] = Seq(())  # keeps its place in the order
            self.rules[name] = self.part(rule.body.tree)
        return Ref(self.names[id(rule)])

    def xml(self, tree: Xml) -> Ref:
        prefix = f"xml{len(self.rules)} "
        found = xml_rules(tree.spec, tree.whitespace)  # type: ignore[arg-type]
        self.rules |= {prefix + name: _renamed(body, prefix) for name, body in found.items()}
        return Ref(prefix + START_RULE)


def _renamed(part: Any, prefix: str) -> Any:
    match part:
        case Ref(name):
            return Ref(prefix + name)
        case Seq(parts):
            return Seq(tuple(_renamed(p, prefix) for p in parts))
        case Alt(options):
            return Alt(tuple(_renamed(p, prefix) for p in options))
        case Repeat(inner, low, high):
            return Repeat(_renamed(inner, prefix), low, high)
    return part


def _pattern(pattern: str) -> Any:
    tree = parse(pattern)
    if has_look(tree):
        raise UnsupportedGrammar(
            f"{pattern} looks around, which a grammar with rules, JSON or XML cannot; write out what it may match",
            keyword="lookaround",
        )
    return tree


def _literal(text: str) -> Any:
    return Seq(tuple(Chars(((ord(c), ord(c)),)) for c in text))
