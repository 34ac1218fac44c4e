"""An automaton back to a pattern's tree, by eliminating states: for engines that take no automata."""

from __future__ import annotations

from ...errors import GrammarTooLarge
from .charset import Ranges, ranges_of
from .determinise import Alphabet, CharDfa
from .pattern import EMPTY, NOTHING, Alt, Chars, Node, Repeat, Seq

MAX_STATES = 300
MAX_NODES = 20_000
MAX_COMPARED = 200  # nodes of alternatives that are compared with each other


def regex_of(dfa: CharDfa, alphabet: Alphabet) -> Node:
    """A tree without lookarounds that matches what `dfa` accepts. Raises GrammarTooLarge where it would be huge."""
    num_states = len(dfa.table)
    if num_states - 1 > MAX_STATES:
        raise GrammarTooLarge(
            f"the pattern needs {num_states - 1} states; with lookarounds at most {MAX_STATES} are taken"
        )
    members = _members(alphabet)
    start, end = num_states, num_states + 1
    edges: dict[int, dict[int, Node]] = {start: {1: EMPTY}}
    for state in range(1, num_states):
        into: dict[int, list[tuple[int, int]]] = {}
        for c, target in enumerate(dfa.table[state].tolist()):
            if target:
                into.setdefault(target, []).extend(members[c])
        edges[state] = {target: Chars(ranges_of(ranges)) for target, ranges in into.items()}
        if dfa.accepting[state]:
            edges[state][end] = EMPTY
    sizes = {state: {target: _size(node) for target, node in targets.items()} for state, targets in edges.items()}
    sources: dict[int, set[int]] = {state: set() for state in range(1, end + 1)}
    for source, targets in edges.items():
        for target in targets:
            sources[target].add(source)
    remaining = set(range(1, num_states))
    while remaining:
        state = min(remaining, key=lambda s: (len(sources[s]) * len(edges[s]), s))
        remaining.discard(state)
        out, out_sizes = edges.pop(state), sizes.pop(state)
        loop, loop_size = out.pop(state, None), out_sizes.pop(state, 0)
        entering = sorted(sources.pop(state) - {state})
        for target in out:
            sources[target].discard(state)
            sources[target].update(entering)
        for source in entering:
            targets = edges[source]
            to_state = targets.pop(state)
            own = sizes[source]
            size = own.pop(state) + loop_size + 1
            through = [to_state] if loop is None else [to_state, Repeat(loop, 0, None)]
            for target, onward in out.items():
                path = _seq([*through, onward])
                own[target] = own.get(target, 0) + size + out_sizes[target] + 1
                small = own[target] <= MAX_COMPARED
                targets[target] = path if target not in targets else _alt([targets[target], path], compared=small)
            if sum(own.values()) > MAX_NODES:
                raise GrammarTooLarge("a pattern with lookarounds is too large as a regular expression")
    return edges[start].get(end, NOTHING)


def _members(alphabet: Alphabet) -> list[Ranges]:
    members: list[list[tuple[int, int]]] = [[] for _ in range(alphabet.num_classes)]
    for start, after, c in zip(alphabet.starts, [*alphabet.starts[1:], 0x110000], alphabet.class_ids, strict=True):
        if c >= 0:
            members[c].append((start, after - 1))
    return [ranges_of(pairs) for pairs in members]


def _seq(parts: list[Node]) -> Node:
    flat: list[Node] = []
    for part in parts:
        flat += part.parts if isinstance(part, Seq) else [part]
    return flat[0] if len(flat) == 1 else Seq(tuple(flat))


def _alt(options: list[Node], *, compared: bool) -> Node:
    flat: list[Node] = []
    for option in options:
        flat += option.options if isinstance(option, Alt) else [option]
    return Alt(tuple(dict.fromkeys(flat) if compared else flat))


def _size(node: Node) -> int:
    match node:
        case Seq(children) | Alt(children):
            return 1 + sum(map(_size, children))
        case Repeat(inner, _, _):
            return 1 + _size(inner)
        case _:
            return 1
