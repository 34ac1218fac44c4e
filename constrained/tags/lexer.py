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
from .places import Places

MAX_STEPS = 300_000
"""States of patterns that are looked at: less than half a second."""


def is_greed_harmless(body: Body, pointer: str = "#") -> bool:
    """Whether the engine's lexer reads every text of `body`.

    Raises GrammarTooLarge; UnsupportedGrammar, for `pointer`, where documents of which something is watched cannot be
    told from others.
    """
    return _Lexer(body, pointer).is_harmless()


class _Lexer:
    def __init__(self, body: Body, pointer: str) -> None:
        self.pointer = pointer
        places = Places(body)
        read = [atom.tree if isinstance(atom, Lexeme) else atom for atom in places.atoms]
        numbers: dict[Any, int] = {}
        self.number_at = [numbers.setdefault(one, len(numbers)) for one in read]
        """By place the number of what stands there: patterns are large, and to compare them takes long."""
        self.things: list[Any] = list(numbers)
        """Patterns, Texts, Documents and Tokens, by their numbers."""
        self.free = {p for p, atom in enumerate(places.atoms) if isinstance(atom, Lexeme) and atom.is_free}
        """Places of free text."""
        self.start, self._next = places.start, places.after
        sets: set[Ranges] = set().union(
            *(char_sets(a) for a in self.things if not isinstance(a, Text | Document | Token))
        )
        chars = set().union(*(a.text for a in self.things if isinstance(a, Text)))
        self.alphabet = alphabet_of(sets | {((ord(char), ord(char)),) for char in chars})
        self.leads = lead_bytes(self.alphabet)
        self.nfa = Nfa(self.alphabet)
        self.begin_of: dict[int, int] = {}
        self.ended_at: dict[int, int] = {}
        """The number of what ends in a state."""
        self.closures: dict[int, frozenset[int]] = {}
        self.firsts: dict[int, int] = {}
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
        at: dict[int, set[int]] = {}
        for p in active:
            at.setdefault(self.number_at[p], set()).add(p)
        documents = [p for n, group in at.items() if isinstance(self.things[n], Document) for p in group]
        found = {self._next(group) for n, group in at.items() if isinstance(self.things[n], Token)}
        places = {n: group for n, group in at.items() if not isinstance(self.things[n], Document | Token)}
        ours = self._begins(p for group in places.values() for p in group)
        for p in documents:
            if ours & self._begins([p]):
                return None
            beside = [q for q in documents if self._begins([q]) & self._begins([p])]
            several = {self.number_at[q] for q in beside}
            if len(several) > 1 and any(self.things[n].watch for n in several):
                raise UnsupportedGrammar(
                    "two JSON documents may begin at one place, and something in one of them is checked while it is "
                    f"written; begin them with different texts, or take one schema with anyOf (at {self.pointer})",
                    keyword="format",
                    pointer=self.pointer,
                )
            after = self._next(beside)
            more = _bits(b"".join(self.things[n].more for n in several))
            if more & self._begins(after - self.free):
                return None
            found.add(after)
        texts = {n: group for n, group in places.items() if isinstance(self.things[n], Text)}
        patterns = {n: group for n, group in places.items() if n not in texts}
        begun = self._begins(p for group in patterns.values() for p in group)
        # Texts that begin with other bytes than the patterns never meet them.
        patterns |= {n: texts.pop(n) for n in list(texts) if self._begins(texts[n]) & begun}
        if not self._read_texts(texts, found):
            return None
        if len(patterns) == 1:
            ((number, group),) = patterns.items()
            after = self._next(group)
            if not self._bytes_in(self.things[number]) & self._begins(after):
                return found | {after}
        if patterns and not self._walk(patterns, found):
            return None
        return found

    def _read_texts(self, places: dict[int, set[int]], found: set[frozenset[int]]) -> bool:
        """As `_walk`, where texts alone may stand: each goes on only where another has ended that begins it."""
        after = {self.things[n].text: self._next(group) for n, group in places.items()}
        ordered = sorted(after)
        for at, text in enumerate(ordered):
            for longer in ordered[at + 1 :]:
                if not longer.startswith(text):
                    break
                if 1 << longer[len(text)].encode()[0] & self._begins(after[text]):
                    return False
        found.update(after.values())
        return True

    def _bytes_in(self, tree: Node) -> int:
        """Bytes with which characters begin that the pattern has anywhere, as bits."""
        bits = 0
        for ranges in char_sets(tree):
            for c in self.alphabet.classes_of[ranges]:
                bits |= self.leads[c]
        return bits

    def _walk(self, places: dict[int, set[int]], found: set[frozenset[int]]) -> bool:
        """Adds to `found` what comes after these patterns and texts; False: something may go on where one has ended."""
        start = self._close(map(self._begin_of, places))
        seen, waiting = set[frozenset[int]](), [start]
        is_first = True
        while waiting:
            states = waiting.pop()
            self.steps += len(states)
            if self.steps > MAX_STEPS:
                raise GrammarTooLarge("the texts and patterns of the tags overlap in too many ways")
            ended = [] if is_first else [self.ended_at[s] for s in states if s in self.ended_at]
            is_first = False
            moved = self.nfa.onward(states)
            if ended:
                after = self._next(p for n in ended for p in places[n])
                begins = self._begins(after)
                if any(self.leads[c] & begins for c in moved):
                    return False
                found.add(after)
            for reached in set(map(frozenset, moved.values())):
                closed = self._close(reached)
                if closed not in seen:
                    seen.add(closed)
                    waiting.append(closed)
        return True

    def _begin_of(self, number: int) -> int:
        """The state before a pattern or text, whose states are made when they are first wanted."""
        begin = self.begin_of.get(number)
        if begin is None:
            begin = self.begin_of[number] = self.nfa.state()
            thing = self.things[number]
            tree: Node = literal(thing.text) if isinstance(thing, Text) else thing
            end, after = self.nfa.build(tree, begin), self.nfa.state()
            self.nfa.moves[end].append(after)
            self.ended_at[after] = number
        return begin

    def _close(self, states: Any) -> frozenset[int]:
        return frozenset().union(*map(self._closure, states))

    def _closure(self, state: int) -> frozenset[int]:
        known = self.closures.get(state)
        if known is None:
            # only states that read or end something are told apart
            reached = self.nfa.without_text([state])
            known = frozenset(s for s in reached if self.nfa.edges[s] is not None or s in self.ended_at)
            self.closures[state] = known
        return known

    def _begins(self, places: Any) -> int:
        """Bytes with which something at these places may begin, as bits."""
        bits = 0
        for number in {self.number_at[p] for p in places}:
            known = self.firsts.get(number)
            if known is None:
                known = self.firsts[number] = self._first_bytes(number)
            bits |= known
        return bits

    def _first_bytes(self, number: int) -> int:
        match self.things[number]:
            case Document(first=first):
                return _bits(first)
            case Token():
                return 0
            case Text(text):
                return 1 << text.encode()[0]
        bits = 0
        for state in self._closure(self._begin_of(number)):
            edge = self.nfa.edges[state]
            for c in edge[0] if edge is not None else ():
                bits |= self.leads[c]
        return bits


def _bits(data: bytes) -> int:
    bits = 0
    for byte in data:
        bits |= 1 << byte
    return bits
