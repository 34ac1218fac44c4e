"""Where a text with tags stands, byte by byte: which of its parts are being written, and where a document begins.

What stands side by side was found to be told apart by its next byte, so a document is known by its first one. A special
token is followed by its text. States are made when they are first reached.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..fsm.determinise import Nfa, alphabet_of
from ..fsm.pattern import Node, char_sets
from ..fsm.pattern import parse as parse_regex
from ..json_schema.judge import Watch
from .body import Body, Document, Lexeme
from .places import Places

Item = tuple[int, int]
"""A place, and how far it is written: characters of a text, a state of a pattern's automaton, or _UNBEGUN."""

_UNBEGUN = -1
MAX_ITEMS = 200_000
"""In the states that are remembered: 30 MB."""
_SPOT_ITEMS = 5  # that weigh as much as a state without any
_SCALAR = r'"(?:[^"\\]|\\.)*"|-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null'


class Spot:
    """A state outside of objects and arrays, or right behind the first byte of one."""

    __slots__ = ("after", "items", "moves", "pending", "watch")

    def __init__(self, items: frozenset[Item], pending: bytes) -> None:
        self.items = items
        self.pending = pending
        """The bytes of a character that is not whole."""
        self.moves: dict[int, Spot] = {}
        self.after: Spot | None = None
        """An object or array has begun: where the text stands when that is over. None: none has."""
        self.watch: Watch | None = None
        """What is watched in the document that has begun."""


class Follower:
    """Of one body, which `in_lexemes` made, or in which nothing can be taken for what follows.

    Threads may share it: what two of them make at once is the same.
    """

    def __init__(self, body: Body) -> None:
        self._places = Places(body)
        self._scalar = _Automaton(parse_regex(_SCALAR))
        trees = {atom.tree for atom in self._places.atoms if isinstance(atom, Lexeme)}
        self._automata = {tree: _Automaton(tree) for tree in trees}
        self._spots: dict[tuple[frozenset[Item], bytes], Spot] = {}
        self._num_items = 0
        self.start = self._spot(self._begun(self._places.start))

    def move(self, spot: Spot, byte: int) -> Spot:
        """The state after one more byte; `spot` is outside of objects and arrays."""
        found = spot.moves.get(byte)
        if found is None:
            found = spot.moves[byte] = self._move(spot, byte)
        return found

    def _spot(self, items: Iterable[Item], pending: bytes = b"") -> Spot:
        key = frozenset(items), pending
        found = self._spots.get(key)
        if found is None:
            self._num_items += len(key[0]) + _SPOT_ITEMS
            if self._num_items > MAX_ITEMS:
                for old in list(self._spots.values()):
                    old.moves = {}
                self._spots, self._num_items = {}, 0
            found = self._spots[key] = Spot(*key)
        return found

    def _move(self, spot: Spot, byte: int) -> Spot:
        data = spot.pending + bytes((byte,))
        lead = data[0]
        if len(data) < (1 if lead < 0x80 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4):
            return self._spot(spot.items, data)
        try:
            char = data.decode()
        except UnicodeDecodeError:
            return self._spot(())
        if byte in b"{[":
            opened = [p for p, written in spot.items if written == _UNBEGUN and byte in self._document(p).first]
            if opened:
                found = Spot(frozenset(), b"")
                found.after = self._spot(self._begun(self._places.after(opened)))
                found.watch = next((watch for p in opened if (watch := self._document(p).watch) is not None), None)
                return found
        written: dict[int, set[int]] = {}
        for place, state in spot.items:
            written.setdefault(place, set()).add(state)
        return self._spot(item for place, states in written.items() for item in self._step(place, states, char))

    def _document(self, place: int) -> Document:
        atom = self._places.atoms[place]
        assert isinstance(atom, Document)
        return atom

    def _step(self, place: int, states: set[int], char: str) -> list[Item]:
        atom = self._places.atoms[place]
        if isinstance(atom, Document | Lexeme):
            automaton = self._automata[atom.tree] if isinstance(atom, Lexeme) else self._scalar
            if _UNBEGUN in states:
                assert isinstance(atom, Document)
                begins = ord(char) in atom.first and char not in "{["
                states = states - {_UNBEGUN} | (automaton.start if begins else set())
            following, has_ended = automaton.step(states, char)
        else:
            matched = {state + 1 for state in states if atom.text[state : state + 1] == char}
            has_ended = len(atom.text) in matched
            following = frozenset(matched - {len(atom.text)})
        items = [(place, state) for state in following]
        return [*items, *self._begun(self._places.follow[place])] if has_ended else items

    def _begun(self, places: Iterable[int]) -> list[Item]:
        """At these places, with nothing written."""
        items: list[Item] = []
        for place in places:
            match self._places.atoms[place]:
                case Lexeme(tree, _):
                    items += [(place, state) for state in self._automata[tree].start]
                case Document():
                    items.append((place, _UNBEGUN))
                case _:
                    items.append((place, 0))
        return items


class _Automaton:
    """Of one pattern, its states without text left out."""

    def __init__(self, tree: Node) -> None:
        self._alphabet = alphabet_of(char_sets(tree))
        self._nfa = Nfa(self._alphabet)
        first = self._nfa.state()
        self._end = self._nfa.build(tree, first)
        self.start = self._reading(self._nfa.without_text([first]))

    def step(self, states: Iterable[int], char: str) -> tuple[frozenset[int], bool]:
        """The states after a character, and whether the pattern may be over there."""
        found, after = self._alphabet.class_of(ord(char)), []
        for state in states:
            edge = self._nfa.edges[state]
            if edge is not None and found in edge[0]:
                after.append(edge[1])
        reached = self._nfa.without_text(after)
        return self._reading(reached), self._end in reached

    def _reading(self, states: set[int]) -> frozenset[int]:
        return frozenset(state for state in states if self._nfa.edges[state] is not None)
