"""What may stand next to a lexeme, and whether a greedy lexer could miss a derivation because of it."""

from __future__ import annotations

from typing import Any, NamedTuple

from ...errors import GrammarTooLarge, UnsupportedGrammar
from ..fsm.determinise import Alphabet, Nfa
from ..fsm.pattern import Alt, Chars, Node, Repeat, Seq
from ..json_schema.inline import carries_on, first_bytes
from .reader import Json, Ref

MAX_STATES = 20_000
_LOW = (1 << 256) - 1
"""Sets of bytes are bits of a number: those that begin lexemes of ours, and above them those that begin JSON."""


class Lexeme(NamedTuple):
    """A part of the grammar that is one token of the engine's lexer."""

    tree: Node


Body = Lexeme | Ref | Json | Alt | Seq | Repeat


class Lexer:
    """All lexemes of a grammar together."""

    def __init__(self, bodies: dict[str, Body], alphabet: Alphabet) -> None:
        self.bodies = bodies
        self.alphabet = alphabet
        self.leads = lead_bytes(alphabet)
        self.trees: list[Node] = []
        self.documents: dict[str, int] = {}
        """Of each JSON schema, what may follow its documents."""
        for body in bodies.values():
            self._collect(body)
        self.trees = list(dict.fromkeys(self.trees))
        self.first_of = {tree: self._first_bytes(tree) for tree in self.trees}
        self.nullable = {name: False for name in bodies}
        self.first = {name: 0 for name in bodies}  # bytes, as bits
        self.follow = {name: 0 for name in bodies}
        self.after: dict[Node, int] = dict.fromkeys(self.trees, 0)
        self._solve()

    def _collect(self, body: Any) -> None:
        match body:
            case Seq(children) | Alt(children):
                for child in children:
                    self._collect(child)
            case Repeat(inner, _, _):
                self._collect(inner)
            case Ref():
                pass
            case Json(schema):
                self.documents[schema] = 0
            case _:
                self.trees.append(body.tree)

    def _first_bytes(self, tree: Node) -> int:
        match tree:
            case Chars(ranges):
                return self._bytes(self.alphabet.classes_of[ranges]) if ranges else 0
            case Alt(options):
                return _union(self._first_bytes(option) for option in options)
            case Repeat(inner, _, high):
                return 0 if high == 0 else self._first_bytes(inner)
            case Seq(parts):
                found = 0
                for part in parts:
                    found |= self._first_bytes(part)
                    if not is_nullable(part):
                        break
                return found
        raise AssertionError(tree)

    def _bytes(self, classes: tuple[int, ...]) -> int:
        return _union(self.leads[c] for c in classes)

    def _solve(self) -> None:
        """Nullable, FIRST and FOLLOW by fixed point; FOLLOW of lexemes into `after`."""
        while True:
            before = (dict(self.nullable), dict(self.first), dict(self.follow), dict(self.after), dict(self.documents))
            for name, body in self.bodies.items():
                self.nullable[name] = self._is_nullable(body)
                self.first[name] = self._first(body)
                self._spread(body, self.follow[name])
            if before == (self.nullable, self.first, self.follow, self.after, self.documents):
                break
        if self.documents:
            for name, body in self.bodies.items():
                self._check_json(body, self.follow[name])

    def _is_nullable(self, body: Any) -> bool:
        match body:
            case Ref(name):
                return self.nullable[name]
            case Seq(parts):
                return all(map(self._is_nullable, parts))
            case Alt(options):
                return any(map(self._is_nullable, options))
            case Repeat(inner, low, _):
                return low == 0 or self._is_nullable(inner)
        return False

    def _first(self, body: Any) -> int:
        match body:
            case Ref(name):
                return self.first[name]
            case Seq(parts):
                found = 0
                for part in parts:
                    found |= self._first(part)
                    if not self._is_nullable(part):
                        break
                return found
            case Alt(options):
                return _union(map(self._first, options))
            case Repeat(inner, _, high):
                return 0 if high == 0 else self._first(inner)
            case Json(schema):
                return _bits(first_bytes(schema)) << 256
        return self.first_of[body.tree]

    def _spread(self, body: Any, follow: int) -> None:
        """`follow`: bytes that may come after `body`."""
        match body:
            case Ref(name):
                self.follow[name] |= follow
            case Seq(parts):
                for part in reversed(parts):
                    self._spread(part, follow)
                    follow = self._first(part) | (follow if self._is_nullable(part) else 0)
            case Alt(options):
                for option in options:
                    self._spread(option, follow)
            case Repeat(inner, _, high):
                self._spread(inner, follow | (0 if high == 1 else self._first(inner)))
            case Json(schema):
                self.documents[schema] |= follow
            case _:
                self.after[body.tree] |= follow

    def _check_json(self, body: Any, follow: int) -> None:
        """Raises UnsupportedGrammar where the lexer could take a part of a document for something else."""
        match body:
            case Seq(parts):
                for part in reversed(parts):
                    self._check_json(part, follow)
                    follow = self._first(part) | (follow if self._is_nullable(part) else 0)
            case Alt(options):
                firsts = [self._first(o) | (follow if self._is_nullable(o) else 0) for o in options]
                for i, option in enumerate(options):
                    for other in firsts[:i]:
                        _check_apart(firsts[i], other)
                    self._check_json(option, follow)
            case Repeat(inner, _, _):
                again = follow | self._first(inner)
                if self._is_nullable(body) or body.high != 1:
                    _check_apart(self._first(inner), follow)
                self._check_json(inner, again)
            case Json(schema):
                if _fold(follow) & _bits(carries_on(schema)):
                    raise UnsupportedGrammar(
                        "what follows a JSON number begins like more of it; put a text between them", keyword="json"
                    )

    def conflicts(self) -> set[Node]:
        """Lexemes of more than one character that must be split."""
        nfa = Nfa(self.alphabet)
        owner: dict[int, int] = {}
        firsts, ends = [], {}
        for i, tree in enumerate(self.trees):
            low = len(nfa.moves)
            first = nfa.state()
            ends[nfa.build(tree, first)] = i
            firsts.append(first)
            owner.update(dict.fromkeys(range(low, len(nfa.moves)), i))
        start = frozenset(nfa.without_text(firsts))
        seen = {start}
        stack = [start]
        found: set[Node] = set()
        while stack:
            states = stack.pop()
            ended = [ends[s] for s in states if s in ends]
            for state in states if ended and states is not start else ():
                edge = nfa.edges[state]
                onward = self._bytes(edge[0]) if edge is not None else 0
                for i in ended:
                    if onward & _fold(self.after[self.trees[i]]):
                        found.add(self.trees[owner[state]])
                        if not isinstance(self.trees[i], Chars):
                            found.add(self.trees[i])
            for after in nfa.onward(states).values():
                reached = frozenset(nfa.without_text(after))
                if reached not in seen:
                    if len(seen) > MAX_STATES:
                        raise GrammarTooLarge("the grammar's tokens need too many states")
                    seen.add(reached)
                    stack.append(reached)
        return found


def lead_bytes(alphabet: Alphabet) -> list[int]:
    """For each class of characters the bytes with which they begin, as bits."""
    leads = [0] * alphabet.num_classes
    for start, end, c in zip(alphabet.starts, [*alphabet.starts[1:], 0x110000], alphabet.class_ids, strict=True):
        if c >= 0:
            low, high = chr(start).encode()[0], chr(end - 1).encode()[0]
            leads[c] |= (1 << (high + 1)) - (1 << low)
    return leads


def is_nullable(tree: Node) -> bool:
    """Whether the tree matches the empty string."""
    match tree:
        case Seq(parts):
            return all(map(is_nullable, parts))
        case Alt(options):
            return any(map(is_nullable, options))
        case Repeat(inner, low, _):
            return low == 0 or is_nullable(inner)
        case _:
            return False


def _check_apart(one: int, other: int) -> None:
    if (one >> 256) & (other & _LOW) or (other >> 256) & (one & _LOW):
        raise UnsupportedGrammar(
            "a JSON document and what may stand in its place begin alike; put a text before one of them", keyword="json"
        )


def _bits(data: bytes) -> int:
    return _union(1 << byte for byte in data)


def _fold(bits: int) -> int:
    """Whether of ours or of JSON."""
    return (bits | bits >> 256) & _LOW


def _union(bits: Any) -> int:
    found = 0
    for more in bits:
        found |= more
    return found
