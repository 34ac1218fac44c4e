"""Whether a greedy lexer reads a structural tag right: no lexeme can go on where another that stands there has ended.

Tags do not nest without end, so what may stand next is known at every place: the lexer is followed from one set of
lexemes that it may look for to the next, with all texts that these have.
"""

from __future__ import annotations

from typing import Any

from ...errors import GrammarTooLarge, UnsupportedGrammar
from ..fsm.charset import Ranges
from ..fsm.determinise import Nfa, alphabet_of
from ..fsm.pattern import Node, char_sets
from ..grammar.regular import lead_bytes
from ..json_schema.strings import literal
from .body import Body, Document, Lexeme, Text, Token
from .places import Atom, Places

MAX_STEPS = 300_000
"""States of patterns that are looked at: less than half a second."""


def is_greed_harmless(body: Body, pointer: str = "#") -> bool:
    """Whether the engine's lexer reads every text of `body`.

    Raises GrammarTooLarge; UnsupportedGrammar, for `pointer`, where documents of which something is watched cannot be
    told from others.
    """
    return _Lexer(body, pointer).is_harmless()


def _read_as(atom: Atom) -> Node | Document | Token:
    """What the lexer takes it for: a pattern, a Document or a Token."""
    return literal(atom.text) if isinstance(atom, Text) else atom.tree if isinstance(atom, Lexeme) else atom


class _Lexer:
    def __init__(self, body: Body, pointer: str) -> None:
        self.pointer = pointer
        places = Places(body)
        self.atoms: list[Any] = list(map(_read_as, places.atoms))
        """What stands at each place."""
        self.free = {p for p, atom in enumerate(places.atoms) if isinstance(atom, Lexeme) and atom.is_free}
        """Places of free text."""
        self.start, self._next = places.start, places.after
        trees: list[Node] = list(dict.fromkeys(a for a in self.atoms if not isinstance(a, Document | Token)))
        sets: set[Ranges] = set().union(*map(char_sets, trees))
        self.alphabet = alphabet_of(sets)
        self.leads = lead_bytes(self.alphabet)
        self.nfa = Nfa(self.alphabet)
        self.begin_of: dict[Node, int] = {}
        self.tree_at: dict[int, Node] = {}
        """By the state in which a pattern ends."""
        for tree in trees:
            begin = self.begin_of[tree] = self.nfa.state()
            end, after = self.nfa.build(tree, begin), self.nfa.state()
            self.nfa.moves[end].append(after)
            self.tree_at[after] = tree
        self.closures: dict[int, frozenset[int]] = {}
        self.firsts: dict[Any, int] = {}
        self.steps = 0

    def is_harmless(self) -> bool:
        """Follows the lexer through everything."""
        seen = {self.start}
        waiting = [self.start]
        while waiting:
            active = waiting.pop()
            following = self._after(active)
            if following is None:
                return False
            for after in following - seen:
                seen.add(after)
                waiting.append(after)
        return True

    def _after(self, active: frozenset[int]) -> set[frozenset[int]] | None:
        """The sets of places that come after these; None: something may go on where another one has ended."""
        documents = [p for p in active if isinstance(self.atoms[p], Document)]
        tokens = {self.atoms[p] for p in active if isinstance(self.atoms[p], Token)}
        places: dict[Node, set[int]] = {}
        for p in active:
            if not isinstance(self.atoms[p], Document | Token):
                places.setdefault(self.atoms[p], set()).add(p)
        found = {self._next(p for p in active if self.atoms[p] == token) for token in tokens}
        ours = self._begins(p for group in places.values() for p in group)
        for p in documents:
            if ours & self._begins([p]):
                return None
            beside = [q for q in documents if self._begins([q]) & self._begins([p])]
            if any(self.atoms[q].watch for q in beside) and len({self.atoms[q] for q in beside}) > 1:
                raise UnsupportedGrammar(
                    "two JSON documents may begin at one place, and something in one of them is checked while it is "
                    f"written; begin them with different texts, or take one schema with anyOf (at {self.pointer})",
                    keyword="format",
                    pointer=self.pointer,
                )
            after = self._next(beside)
            more = _bits(b"".join(self.atoms[q].more for q in beside))
            if more & self._begins(after - self.free):
                return None
            found.add(after)
        if len(places) == 1:
            ((tree, group),) = places.items()
            after = self._next(group)
            if not self._bytes_in(tree) & self._begins(after):
                return found | {after}
        if places and not self._walk(places, found):
            return None
        return found

    def _bytes_in(self, tree: Node) -> int:
        """Bytes with which characters begin that the pattern has anywhere, as bits."""
        bits = 0
        for ranges in char_sets(tree):
            for c in self.alphabet.classes_of[ranges]:
                bits |= self.leads[c]
        return bits

    def _walk(self, places: dict[Node, set[int]], found: set[frozenset[int]]) -> bool:
        start = self._close(self.begin_of[tree] for tree in places)
        seen, waiting = set[frozenset[int]](), [start]
        is_first = True
        while waiting:
            states = waiting.pop()
            self.steps += len(states)
            if self.steps > MAX_STEPS:
                raise GrammarTooLarge("the texts and patterns of the tags overlap in too many ways")
            ended = [] if is_first else [self.tree_at[s] for s in states if s in self.tree_at]
            is_first = False
            moved: dict[int, list[int]] = {}
            onward = 0
            for state in states:
                edge = self.nfa.edges[state]
                if edge is None:
                    continue
                for c in edge[0]:
                    onward |= self.leads[c]
                    moved.setdefault(c, []).append(edge[1])
            if ended:
                after = self._next(p for tree in ended for p in places[tree])
                if onward & self._begins(after):
                    return False
                found.add(after)
            for reached in {frozenset(states) for states in moved.values()}:
                closed = self._close(reached)
                if closed not in seen:
                    seen.add(closed)
                    waiting.append(closed)
        return True

    def _close(self, states: Any) -> frozenset[int]:
        return frozenset().union(*map(self._closure, states))

    def _closure(self, state: int) -> frozenset[int]:
        known = self.closures.get(state)
        if known is None:
            # only states that read or end something are told apart
            reached = self.nfa.without_text(state)
            known = frozenset(s for s in reached if self.nfa.edges[s] is not None or s in self.tree_at)
            self.closures[state] = known
        return known

    def _begins(self, places: Any) -> int:
        """Bytes with which something at these places may begin, as bits."""
        bits = 0
        for atom in {self.atoms[p] for p in places}:
            known = self.firsts.get(atom)
            if known is None:
                known = self.firsts[atom] = self._first_bytes(atom)
            bits |= known
        return bits

    def _first_bytes(self, atom: Any) -> int:
        match atom:
            case Document(first=first):
                return _bits(first)
            case Token():
                return 0
        bits = 0
        for state in self._closure(self.begin_of[atom]):
            edge = self.nfa.edges[state]
            for c in edge[0] if edge is not None else ():
                bits |= self.leads[c]
        return bits


def _bits(data: bytes) -> int:
    bits = 0
    for byte in data:
        bits |= 1 << byte
    return bits
