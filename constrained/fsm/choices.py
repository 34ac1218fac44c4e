"""The automaton of a list of strings: a trie with equal endings joined, built directly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...errors import GrammarTooLarge
from .automaton import ByteDfa, pack

MAX_STATES = 60_000  # of 256 columns each while building: 60 MiB


def of_strings(strings: Sequence[bytes], absent: frozenset[int] = frozenset()) -> ByteDfa:
    """Accepts exactly these; those that hold a byte in `absent` are left out. Raises GrammarTooLarge."""
    words = sorted({s for s in strings if absent.isdisjoint(s)})
    longest = max(map(len, words), default=0)
    if longest >= MAX_STATES:
        raise GrammarTooLarge(f"a choice has {longest} bytes; fewer than {MAX_STATES} are served")
    rows: dict[tuple[bool, tuple[tuple[int, int], ...]], int] = {}
    order: list[tuple[bool, tuple[tuple[int, int], ...]]] = []

    def state(accepting: bool, edges: list[tuple[int, int]]) -> int:
        key = (accepting, tuple(edges))
        known = rows.get(key)
        if known is None:
            if len(order) >= MAX_STATES:
                raise GrammarTooLarge("the choices are too many or too long")
            known = rows[key] = len(order) + 1
            order.append(key)
        return known

    # One open node for each byte of the current word; a node closes when the next word leaves its path.
    path: list[tuple[bool, list[tuple[int, int]]]] = [(False, [])]
    previous = b""
    for word in [*words, b""]:
        shared = _shared(previous, word)
        while len(path) > shared + 1:
            accepting, edges = path.pop()
            path[-1][1].append((previous[len(path) - 1], state(accepting, edges)))
        path += [(False, []) for _ in range(len(word) - shared)]
        if word:
            path[-1] = (True, path[-1][1])
        previous = word
    if words and not words[0]:
        path[0] = (True, path[0][1])
    start = state(*path[0])
    names = np.arange(len(order) + 1)
    names[start], names[1] = 1, start  # the start is state 1
    table = np.zeros((len(order) + 1, 256), np.int32)
    accepting_S = np.zeros(len(order) + 1, np.bool_)
    for i, (accepting, closed) in enumerate(order, 1):
        accepting_S[names[i]] = accepting
        for byte, target in closed:
            table[names[i], byte] = names[target]
    return pack(table, accepting_S)


def _shared(one: bytes, other: bytes) -> int:
    """How many bytes two texts begin with that are the same."""
    most = min(len(one), len(other))
    if one[:most] == other[:most]:
        return most
    differing = int.from_bytes(one[:most], "big") ^ int.from_bytes(other[:most], "big")
    return most - (differing.bit_length() + 7) // 8
