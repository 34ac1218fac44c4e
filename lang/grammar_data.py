"""A composed grammar as text for a graph, so that its captures are read where the graph runs."""

from __future__ import annotations

import json
from typing import Any

from .grammar import Grammar, Rule
from .grammar_tree import Call, Capture, Either, Json, Pattern, Times, Together, Tree, Xml


def grammar_text(grammar: Grammar) -> str:
    """JSON of the grammar; the types of its captures, which are Python's, are left out."""
    rules: dict[int, int] = {}
    bodies: list[Any] = []

    def data(tree: Tree) -> list[Any]:
        match tree:
            case Pattern(pattern, text):
                return ["pattern", pattern, text]
            case Together(parts):
                return ["together", [data(part) for part in parts]]
            case Either(parts):
                return ["either", [data(part) for part in parts]]
            case Times(part, low, high):
                return ["times", data(part), low, high]
            case Capture(name, _, part):
                return ["capture", name, data(part)]
            case Json(schema, _):
                return ["json", schema]
            case Xml(spec, whitespace):
                return ["xml", spec, whitespace]
            case Call(rule):
                place = rules.get(id(rule))
                if place is None:
                    place = rules[id(rule)] = len(bodies)
                    bodies.append(None)
                    assert rule.body is not None, "an undefined rule has no constraint either"
                    bodies[place] = [rule.name, data(rule.body.tree)]
                return ["call", place]
        raise AssertionError(tree)

    root = data(grammar.tree)
    return json.dumps({"root": root, "rules": bodies}, ensure_ascii=False)


def read_grammar(text: str) -> Grammar:
    """The grammar that `grammar_text` wrote. ValueError for a text that is none: it may come from anybody."""
    try:
        whole = json.loads(text)
        rules = [Rule(_text(name)) for name, _ in whole["rules"]]
        for rule, (_, body) in zip(rules, whole["rules"], strict=True):
            rule.define(Grammar(_tree(body, rules)))
        made = Grammar(_tree(whole["root"], rules))
        made.names()
    except (json.JSONDecodeError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"this is no grammar: {type(error).__name__}: {error}") from None
    return made


def _tree(data: Any, rules: list[Rule]) -> Tree:
    match data:
        case ["pattern", str(pattern), None | str() as text]:
            return Pattern(pattern, text)
        case ["together", list(parts)]:
            return Together(tuple(_tree(part, rules) for part in parts))
        case ["either", [_, *_] as parts]:
            return Either(tuple(_tree(part, rules) for part in parts))
        case ["times", part, int(low), None | int() as high] if low >= 0 and (high is None or high >= low):
            return Times(_tree(part, rules), low, high)
        case ["capture", str(name), part] if name:
            return Capture(name, None, _tree(part, rules))
        case ["json", str(schema)]:
            return Json(schema, None)
        case ["xml", str(spec), str(whitespace)]:
            return Xml(spec, whitespace)
        case ["call", int(place)] if 0 <= place < len(rules):
            return Call(rules[place])
    raise ValueError(f"this is no part of a grammar: {str(data)[:80]}")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a rule's name is a text")
    return value
