"""An automaton over classes of characters as one over the bytes of their UTF-8, exactly."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
from numpy.typing import NDArray

from ...errors import GrammarTooLarge
from .automaton import ByteDfa, pack
from .determinise import Alphabet, CharDfa, _live

MAX_BYTE_STATES = 4096

Runs = tuple[tuple[int, int, "Runs | int"], ...]
"""(first byte, last byte, what follows): a class of characters at the last byte, before it the runs of the next."""

_LEADS = (  # first byte's range, its code points, continuation bytes: RFC 3629
    (0x00, 0x7F, 0, 0),
    (0xC2, 0xDF, 0x80, 1),
    (0xE0, 0xEF, 0x800, 2),
    (0xF0, 0xF4, 0x10000, 3),
)


class _Decoder:
    """The class of a character from its bytes, one byte at a time."""

    def __init__(self, alphabet: Alphabet) -> None:
        self.runs = list(zip(alphabet.starts, [*alphabet.starts[1:], 0x110000], alphabet.class_ids, strict=True))
        self.starts = alphabet.starts
        self.memo: dict[Runs, Runs] = {}

    def root(self) -> Runs:
        found: list[tuple[int, int, Runs | int]] = []
        for low, high, _, continuation in _LEADS:
            width = 1 << (6 * continuation)
            for lead in range(low, high + 1):
                first = lead if continuation == 0 else (lead & (0x3F >> continuation)) << (6 * continuation)
                self._add(found, lead, self._node(max(first, _LEADS[continuation][2]), first, width, continuation))
        return tuple(found)

    def _node(self, low: int, first: int, width: int, continuation: int) -> Runs | int | None:
        """What follows a byte after which the characters first … first + width - 1 are possible, from `low` on."""
        high = min(first + width - 1, 0x10FFFF)
        if low > high:
            return None
        if continuation == 0:
            i = bisect_right(self.starts, low) - 1
            return self.runs[i][2] if self.runs[i][2] >= 0 else None
        step = width >> 6
        uniform = self._uniform(low, high) if low == first and high == first + width - 1 else None
        found: list[tuple[int, int, Runs | int]] = []
        if uniform is not None:
            if uniform < 0:
                return None
            inner = self._node(low, first, step, continuation - 1)
            assert inner is not None
            found.append((0x80, 0xBF, inner))
        else:
            for i in range(64):
                begin = first + i * step
                node = self._node(max(low, begin), begin, step, continuation - 1)
                self._add(found, 0x80 + i, node)
        runs = tuple(found)
        return self.memo.setdefault(runs, runs) if runs else None

    def _uniform(self, low: int, high: int) -> int | None:
        i = bisect_right(self.starts, low) - 1
        return self.runs[i][2] if self.runs[i][1] > high else None

    @staticmethod
    def _add(found: list[tuple[int, int, Runs | int]], byte: int, node: Runs | int | None) -> None:
        if node is None:
            return
        if found and found[-1][1] == byte - 1 and (found[-1][2] is node or found[-1][2] == node):
            found[-1] = (found[-1][0], byte, node)
        else:
            found.append((byte, byte, node))


class _Expansion:
    """Byte states: those of the characters, and between the bytes of one, hash-consed by what they lead to."""

    def __init__(self, dfa: CharDfa) -> None:
        self.dfa = dfa
        self.rows: list[tuple[tuple[int, int, int], ...]] = [() for _ in range(len(dfa.table))]
        self.ids: dict[tuple[tuple[int, int, int], ...], int] = {}

    def resolve(self, runs: Runs, targets: list[int], memo: dict[int, int]) -> tuple[tuple[int, int, int], ...]:
        found: list[tuple[int, int, int]] = []
        for low, high, following in runs:
            if isinstance(following, int):
                state = targets[following]
            else:
                known = memo.get(id(following))
                if known is None:
                    known = memo[id(following)] = self._state(self.resolve(following, targets, memo))
                state = known
            if not state:
                continue
            if found and found[-1][1] == low - 1 and found[-1][2] == state:
                found[-1] = (found[-1][0], high, state)
            else:
                found.append((low, high, state))
        return tuple(found)

    def _state(self, row: tuple[tuple[int, int, int], ...]) -> int:
        if not row:
            return 0
        state = self.ids.get(row)
        if state is None:
            if len(self.rows) >= MAX_BYTE_STATES:
                raise GrammarTooLarge("the pattern needs too many states for its characters")
            state = self.ids[row] = len(self.rows)
            self.rows.append(row)
        return state


def to_bytes(dfa: CharDfa, alphabet: Alphabet, absent: frozenset[int] = frozenset()) -> ByteDfa:
    """The automaton over bytes. `absent`: bytes that no token holds; what needs them is left out.

    Raises GrammarTooLarge past MAX_BYTE_STATES.
    """
    root = _Decoder(alphabet).root()
    expansion = _Expansion(dfa)
    shared: dict[tuple[int, ...], tuple[tuple[int, int, int], ...]] = {}
    for state in range(1, len(dfa.table)):
        targets = dfa.table[state].tolist()
        key = tuple(targets)
        if key not in shared:
            shared[key] = expansion.resolve(root, targets, {})
        expansion.rows[state] = shared[key]
    table = np.zeros((len(expansion.rows), 256), np.int32)
    for state, row in enumerate(expansion.rows):
        for low, high, target in row:
            table[state, low : high + 1] = target
    for byte in absent:
        table[:, byte] = 0
    accepting = np.zeros(len(table), np.bool_)
    accepting[: len(dfa.accepting)] = dfa.accepting
    return pack(*trim(table, accepting))


def trim(table: NDArray[np.int32], accepting: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Without the states that the start does not reach or that cannot reach acceptance; 0 dead and 1 the start stay."""
    table = np.where(_live(table, accepting)[table], table, 0)
    reached = np.zeros(len(table), np.bool_)
    frontier = np.array([1])
    while len(frontier):
        reached[frontier] = True
        following = np.zeros(len(table), np.bool_)
        following[table[frontier]] = True
        following[0] = False
        frontier = np.flatnonzero(following & ~reached)
    kept = np.flatnonzero(reached)
    kept = np.concatenate([[1], kept[kept != 1]])
    names = np.zeros(len(table), np.int32)
    names[kept] = np.arange(1, len(kept) + 1)
    new_table = np.zeros((len(kept) + 1, table.shape[1]), np.int32)
    new_table[1:] = names[table[kept]]
    return new_table, np.concatenate([[False], accepting[kept]])
