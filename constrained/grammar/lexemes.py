"""Rules to a Lark grammar for llguidance: the same language, in as few lexemes as that permits.

Its lexer is greedy: of the lexemes that may stand here it takes the longest, and never looks back. `[a-z]+ "x"` as two
lexemes would so never match "abx". A part of the grammar becomes one lexeme only if greed cannot hurt: wherever a
lexeme may end, no byte that may follow it carries any lexeme on. Parts that fail this are split, in the end into single
characters, where nothing can go wrong. Grammars without recursion never come here: they are automata. JSON documents
inside a grammar are the engine's own; what may stand in the place of one, or behind a number, must begin otherwise.
"""

from __future__ import annotations

import math
import operator
from typing import Literal

from ...errors import GrammarTooLarge, UnsatisfiableGrammar
from ..fsm.charset import Ranges
from ..fsm.determinise import Alphabet, alphabet_of
from ..fsm.fallback import to_engine
from ..fsm.pattern import EMPTY, MAX_SHORTEST, Alt, Chars, Node, Repeat, Seq, char_sets, shortest_len
from ..json_schema.inline import inline
from .reader import START_RULE, Json, Part, Ref, Rules
from .regular import Body, Lexeme, Lexer, is_nullable
from .writer import write

MAX_INLINED = 20_000  # nodes of the tree that a grammar without recursion becomes
MAX_SPLITS = 400
MAX_ROUNDS = 64  # of looking for the shortest text of every rule; without circles two are enough
MAX_LEXEME = 1000  # nodes of the tree of one lexeme


def as_pattern(rules: Rules) -> Node | None:
    """The grammar as one pattern, if no rule contains itself or JSON and it is not too large; else None."""
    if _recursive(rules) or any(map(_holds_json, rules.values())):
        return None
    budget = [MAX_INLINED]
    try:
        return _inline(Ref(START_RULE), rules, budget)
    except GrammarTooLarge:
        return None


def productive(rules: Rules, start: str = "root") -> Rules:
    """The rules without what never ends, into which an answer could go and never come out.

    Raises UnsatisfiableGrammar if no string can be derived from `root`, GrammarTooLarge if only very long ones;
    `start`: what the user knows it as.
    """
    lengths: dict[str, float] = dict.fromkeys(rules, math.inf)
    order = _leaves_first(rules)
    for _ in range(MAX_ROUNDS):
        is_settled = True
        for name in order:
            length = _shortest(rules[name], lengths)
            if length < lengths[name]:
                lengths[name], is_settled = length, False
        if is_settled:
            break
    else:
        raise GrammarTooLarge("the grammar's rules depend on each other in too many ways")
    if lengths[START_RULE] == math.inf:
        raise UnsatisfiableGrammar(
            f"no text can be derived from {start}: it contains itself without end, or "
            "demands what cannot be written, as a character of none"
        )
    if lengths[START_RULE] > MAX_SHORTEST:
        raise GrammarTooLarge(f"the shortest answer has more than {MAX_SHORTEST} characters")
    return {name: _ending(body, lengths) for name, body in rules.items() if lengths[name] < math.inf}


def _ending(part: Part, lengths: dict[str, float]) -> Part:
    """The part without options and repetitions that never end; itself where it has none."""
    match part:
        case Seq(parts):
            kept = tuple(_ending(p, lengths) for p in parts)
            return part if all(map(operator.is_, kept, parts)) else Seq(kept)  # type: ignore[arg-type]
        case Alt(options):
            kept = tuple(_ending(o, lengths) for o in options if _shortest(o, lengths) < math.inf)
            is_whole = len(kept) == len(options) and all(map(operator.is_, kept, options))
            return part if is_whole else Alt(kept)  # type: ignore[arg-type]
        case Repeat(inner, low, high):
            if _shortest(inner, lengths) == math.inf:
                return EMPTY
            kept_inner = _ending(inner, lengths)
            return part if kept_inner is inner else Repeat(kept_inner, low, high)  # type: ignore[arg-type]
        case _:
            return part


def _leaves_first(rules: Rules) -> list[str]:
    """The rules, those that a rule refers to before it, but for circles."""
    following = {name: sorted(_references(body)) for name, body in rules.items()}
    order: list[str] = []
    seen: set[str] = set()
    for start in rules:
        stack = [(start, iter(following[start]))] if start not in seen else []
        seen.add(start)
        while stack:
            rest = stack[-1][1]
            inner = next((n for n in rest if n not in seen), None)
            if inner is None:
                order.append(stack.pop()[0])
            else:
                seen.add(inner)
                stack.append((inner, iter(following[inner])))
    return order


def _shortest(part: Part, lengths: dict[str, float]) -> float:
    match part:
        case Ref(name):
            return lengths[name]
        case Json():
            return 1
        case Seq(parts):
            return sum(_shortest(p, lengths) for p in parts)
        case Alt(options):
            return min((_shortest(p, lengths) for p in options), default=math.inf)
        case Repeat(inner, low, _):
            return low * _shortest(inner, lengths) if low else 0
        case _:
            return shortest_len(part)


def _references(part: Part) -> set[str]:
    match part:
        case Ref(name):
            return {name}
        case Seq(children) | Alt(children):
            return set().union(*map(_references, children))
        case Repeat(inner, _, _):
            return _references(inner)
        case _:
            return set()


def _holds_json(part: Part) -> bool:
    match part:
        case Json():
            return True
        case Seq(children) | Alt(children):
            return any(map(_holds_json, children))
        case Repeat(inner, _, _):
            return _holds_json(inner)
    return False


def _recursive(rules: Rules) -> set[str]:
    """Rules from which a rule that contains itself is reached, among those that `root` reaches."""
    following = {name: _references(body) for name, body in rules.items()}
    users: dict[str, list[str]] = {name: [] for name in rules}
    for name, names in following.items():
        for used in names:
            users[used].append(name)
    missing = {name: len(names) for name, names in following.items()}
    plain: set[str] = set()
    ready = [name for name, count in missing.items() if not count]
    while ready:
        name = ready.pop()
        plain.add(name)
        for user in users[name]:
            missing[user] -= 1
            if not missing[user]:
                ready.append(user)
    reached, stack = {START_RULE}, [START_RULE]
    while stack:
        for name in following[stack.pop()] - reached:
            reached.add(name)
            stack.append(name)
    return reached - plain


def _inline(part: Part, rules: Rules, budget: list[int]) -> Node:
    budget[0] -= 1
    if budget[0] < 0:
        raise GrammarTooLarge("the grammar is too large as one pattern")
    match part:
        case Ref(name):
            return _inline(rules[name], rules, budget)
        case Seq(parts):
            return Seq(tuple(_inline(p, rules, budget) for p in parts))
        case Alt(options):
            return Alt(tuple(_inline(p, rules, budget) for p in options))
        case Repeat(inner, low, high):
            return Repeat(_inline(inner, rules, budget), low, high)
        case Chars():
            return part
    raise AssertionError(part)


def as_text(rules: Rules) -> tuple[Literal["ebnf", "lark"], str]:
    """A grammar that a program put together, for engines elsewhere: as EBNF, with JSON inside as Lark."""
    return ("lark", to_lark(rules)) if any(map(_holds_json, rules.values())) else ("ebnf", write(rules))


def to_lark(rules: Rules) -> str:
    """The grammar in the engine's Lark. Raises GrammarTooLarge."""
    kept = _kept(rules)
    writer = _Writer(rules, kept)
    for _ in range(MAX_SPLITS):
        bodies = {name: writer.body(rules[name]) for name in rules if name in kept}
        conflicts = writer.conflicts(bodies)
        if not conflicts:
            return _lark(bodies)
        writer.split |= conflicts
    raise GrammarTooLarge("the grammar's tokens overlap in too many ways")


def _kept(rules: Rules) -> set[str]:
    """Rules that stay rules: those that recur, the start, and those too large to be written out."""
    kept = _recursive(rules) | {START_RULE} | {name for name, body in rules.items() if _holds_json(body)}
    sizes: dict[str, int] = {}
    waiting = {name: body for name, body in rules.items() if name not in kept}
    while waiting:
        ready = {name: body for name, body in waiting.items() if not _references(body) & waiting.keys()}
        if not ready:
            return kept | waiting.keys()
        for name, body in ready.items():
            size = _size(body, sizes)
            if size > MAX_LEXEME:
                kept.add(name)
                size = 1
            sizes[name] = size
            del waiting[name]
    return kept


def _size(part: Part, sizes: dict[str, int]) -> int:
    match part:
        case Ref(name):
            return sizes.get(name, 1)
        case Seq(children) | Alt(children):
            return 1 + sum(_size(child, sizes) for child in children)
        case Repeat(inner, _, _):
            return 1 + _size(inner, sizes)
        case _:
            return 1


class _Writer:
    def __init__(self, rules: Rules, kept: set[str]) -> None:
        self.rules = rules
        self.recursive = kept
        self.split: set[Node] = set()  # trees that may not be one lexeme
        self.inlined: dict[Part, Node | None] = {}
        sets: set[Ranges] = set()
        for body in rules.values():
            sets |= _sets(body)
        self.alphabet: Alphabet = alphabet_of(sets)

    def tree(self, part: Part) -> Node | None:
        """The part as a pattern's tree, if it is free of recursion."""
        if part not in self.inlined:
            found = None
            if not self._reaches_recursion(part) and not _holds_json(part):
                try:
                    found = _inline(part, self.rules, [2 * MAX_LEXEME])
                except GrammarTooLarge:
                    found = None
            self.inlined[part] = found
        return self.inlined[part]

    def _reaches_recursion(self, part: Part) -> bool:
        return bool(_references(part) & self.recursive)

    def body(self, part: Part) -> Body:
        """The part in lexemes, the largest that are not split."""
        tree = self.tree(part)
        if tree is not None and tree not in self.split and not is_nullable(tree):
            return Lexeme(tree)
        match part:
            case Ref(name):
                return part if tree is None and name in self.recursive else self.body(self.rules[name])
            case Json():
                return part
            case Chars():
                return Lexeme(part)
            case Alt(options):
                return Alt(tuple(self.body(option) for option in options))  # type: ignore[misc]
            case Repeat(inner, low, high):
                return Repeat(self.body(inner), low, high)  # type: ignore[arg-type]
            case Seq(parts):
                return Seq(tuple(self._runs(parts)))  # type: ignore[arg-type]
        raise AssertionError(part)

    def _runs(self, parts: tuple[Part, ...]) -> list[Body]:
        """Neighbours without recursion join into one lexeme where that is not split."""
        result: list[Body] = []
        i = 0
        while i < len(parts):
            end = i
            while end < len(parts) and self.tree(parts[end]) is not None:
                end += 1
            while end > i + 1:
                joined = Seq(tuple(t for p in parts[i:end] if (t := self.tree(p)) is not None))
                if end - i < len(parts) and joined not in self.split and not is_nullable(joined):
                    result.append(Lexeme(joined))
                    break
                end -= 1
            else:
                result.append(self.body(parts[i]))
                end = i + 1
            i = end
        return result

    def conflicts(self, bodies: dict[str, Body]) -> set[Node]:
        """Lexemes that must be split because greed could hurt."""
        lexer = Lexer(bodies, self.alphabet)
        return lexer.conflicts()


def _sets(part: Part) -> set[Ranges]:
    match part:
        case Ref() | Json():
            return set()
        case Seq(children) | Alt(children):
            return set().union(*map(_sets, children))
        case Repeat(inner, _, _):
            return _sets(inner)
        case _:
            return char_sets(part)


def _lark(bodies: dict[str, Body]) -> str:
    names = {name: f"r{i}" for i, name in enumerate(bodies)}
    names[START_RULE] = "start"
    lines = ["%llguidance {}"]
    terminals: dict[Node, str] = {}
    documents: dict[str, str] = {}

    def write(body: Body) -> str:
        match body:
            case Lexeme(tree):
                return terminals.setdefault(tree, f"T{len(terminals)}")
            case Ref(name):
                return names[name]
            case Json(schema):
                return documents.setdefault(schema, f"j{len(documents)}")
            case Seq(parts):
                return "(" + " ".join(map(write, parts)) + ")" if parts else '""'  # type: ignore[arg-type]
            case Alt(options):
                return "(" + " | ".join(map(write, options)) + ")"  # type: ignore[arg-type]
            case Repeat(inner, low, high):
                return f"({write(inner)}){{{low},{'' if high is None else high}}}"  # type: ignore[arg-type]
        raise AssertionError(body)

    lines += [f"{names[name]}: {write(body)}" for name, body in bodies.items()]
    lines += [f"{name}: /{to_engine(tree)}/" for tree, name in terminals.items()]
    lines += [f"{name}: {inline(schema)}" for schema, name in documents.items()]
    return "\n".join(lines) + "\n"
