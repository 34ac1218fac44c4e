"""A pattern's tree to a deterministic automaton over classes of characters.

Subset construction. What looks ahead becomes an obligation that a thread carries: a deterministic automaton of the
rest of the text, stepped along and judged at the end. What looks behind becomes an automaton of the text so far, run
beside the whole. So lookarounds work anywhere, inside repetitions too.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import GrammarTooLarge, UnsupportedGrammar
from .charset import ALL, LAST, Ranges
from .pattern import ANY, Alt, Chars, Look, Node, Repeat, Seq, char_sets

MAX_STATES = 500
MAX_NFA_STATES = 20_000
FUEL = 200_000  # moves of one thread over one class; about 100 ms


class Alphabet(NamedTuple):
    """Characters that no set of the pattern tells apart share a class."""

    starts: list[int]  # code points at which a run of one class begins, ascending, from 0
    class_ids: list[int]  # the class of each run; -1: surrogates
    classes_of: dict[Ranges, tuple[int, ...]]
    num_classes: int

    def class_of(self, code_point: int) -> int:
        return self.class_ids[bisect_right(self.starts, code_point) - 1]


class CharDfa(NamedTuple):
    """table[state, class] → state; 0 is dead, 1 the start."""

    table: NDArray[np.int32]
    accepting: NDArray[np.bool_]


def alphabet_of(sets: set[Ranges]) -> Alphabet:
    """The coarsest classes of which every set is a union."""
    ordered = sorted(sets | {ALL})
    changes: dict[int, int] = {0: 0}
    for i, ranges in enumerate(ordered):
        for low, high in ranges:
            changes[low] = changes.get(low, 0) ^ (1 << i)
            changes[high + 1] = changes.get(high + 1, 0) ^ (1 << i)
    starts, class_ids = [], []
    ids: dict[int, int] = {}
    members = 0
    for start in sorted(changes):
        if start > LAST:
            break
        members ^= changes[start]
        starts.append(start)
        class_ids.append(ids.setdefault(members, len(ids)) if members else -1)
    classes_of = {r: tuple(c for members, c in ids.items() if members >> i & 1) for i, r in enumerate(ordered)}
    return Alphabet(starts, class_ids, classes_of, len(ids))


class Nfa:
    """Thompson's construction; `edges` by class, `moves` without text, `guards` those that demand a lookaround."""

    def __init__(self, alphabet: Alphabet) -> None:
        self.alphabet = alphabet
        self.edges: list[tuple[tuple[int, ...], int] | None] = []
        self.moves: list[list[int]] = []
        self.guards: dict[int, tuple[Look, int]] = {}

    def state(self) -> int:
        if len(self.moves) >= MAX_NFA_STATES:
            raise GrammarTooLarge("the pattern needs too many states")
        self.edges.append(None)
        self.moves.append([])
        return len(self.moves) - 1

    def without_text(self, states: Iterable[int]) -> set[int]:
        """All states that are reached from these without text, themselves included; no guards are passed."""
        seen = set(states)
        stack = list(seen)
        while stack:
            for after in self.moves[stack.pop()]:
                if after not in seen:
                    seen.add(after)
                    stack.append(after)
        return seen

    def onward(self, states: Iterable[int]) -> dict[int, set[int]]:
        """For each class of characters that may come next the states right behind it."""
        found: dict[int, set[int]] = {}
        for state in states:
            edge = self.edges[state]
            if edge is not None:
                for c in edge[0]:
                    found.setdefault(c, set()).add(edge[1])
        return found

    def build(self, node: Node, start: int) -> int:
        """Adds `node` from `start`; returns the state after it."""
        match node:
            case Chars(ranges):
                end = self.state()
                self.edges[start] = (self.alphabet.classes_of[ranges], end)
                return end
            case Seq(parts):
                for part in parts:
                    start = self._fresh(self.build(part, start))
                return start
            case Alt(options):
                end = self.state()
                for option in options:
                    branch = self.state()
                    self.moves[start].append(branch)
                    self.moves[self.build(option, branch)].append(end)
                return end
            case Repeat(inner, low, high):
                return self._repeat(inner, low, high, start)
            case Look():
                end = self.state()
                self.guards[start] = (node, end)
                return end
        raise AssertionError(node)

    def _fresh(self, state: int) -> int:
        """A state that may be given an edge: states have one edge, one guard or moves."""
        if self.edges[state] is None and not self.moves[state] and state not in self.guards:
            return state
        after = self.state()
        self.moves[state].append(after)
        return after

    def _repeat(self, inner: Node, low: int, high: int | None, start: int) -> int:
        if max(low, high or 0) > MAX_NFA_STATES:
            raise GrammarTooLarge("a repetition is too large")
        for _ in range(low):
            start = self._fresh(self.build(inner, start))
        if high is None:
            loop, body, end = self.state(), self.state(), self.state()
            self.moves[start].append(loop)
            self.moves[loop] += [body, end]
            self.moves[self.build(inner, body)].append(loop)
            return end
        end = self.state()
        for _ in range(high - low):
            body = self.state()
            self.moves[start] += [body, end]
            start = self._fresh(self.build(inner, body))
        self.moves[start].append(end)
        return end


Thread = tuple[int, frozenset[tuple[int, int]]]  # a state, and (automaton, its state) for each obligation


class _Subsets:
    def __init__(self, node: Node, alphabet: Alphabet, fuel: list[int]) -> None:
        self.alphabet = alphabet
        self.fuel = fuel
        self.nfa = Nfa(alphabet)
        self.first = self.nfa.state()
        self.last = self.nfa.build(node, self.first)
        self.ahead: list[CharDfa] = []
        self.behind: list[CharDfa] = []
        self.index_of: dict[Look, int] = {}
        self.plain: dict[int, tuple[int, ...] | None] = {}
        for look, _ in self.nfa.guards.values():
            if look not in self.index_of:
                where = self.behind if look.behind else self.ahead
                self.index_of[look] = len(where)
                where.append(self._automaton(look))

    def _automaton(self, look: Look) -> CharDfa:
        if _looks(look.node, behind=True) or (look.behind and _looks(look.node, behind=False)):
            raise UnsupportedGrammar(
                "a lookbehind, ^ or \\b inside a lookaround is not supported; move it out", keyword="lookbehind"
            )
        anything = Repeat(ANY, 0, None)
        whole = Seq((anything, look.node)) if look.behind else Seq((look.node, anything))
        dfa = determinise(whole, self.alphabet, self.fuel)
        return complement(dfa) if look.negate and not look.behind else dfa

    def close(self, threads: list[Thread], past: tuple[int, ...]) -> frozenset[Thread]:
        """All threads reachable without text, those kept that wait for text or are at the end."""
        seen = set(threads)
        stack = []
        kept: set[Thread] = set()
        for thread in threads:
            states = self.reached(thread[0])
            if states is None:
                stack.append(thread)
            else:
                self.fuel[0] -= len(states)
                duties = thread[1]
                kept.update((state, duties) for state in states)
        while stack:
            thread = stack.pop()
            state, duties = thread
            if self.nfa.edges[state] is not None or state == self.last:
                kept.add(thread)
            following: list[Thread] = [(after, duties) for after in self.nfa.moves[state]]
            guard = self.nfa.guards.get(state)
            if guard is not None:
                look, after = guard
                index = self.index_of[look]
                if look.behind:
                    if bool(self.behind[index].accepting[past[index]]) != look.negate:
                        following.append((after, duties))
                else:
                    following.append((after, duties | {(index, 1)}))
            for reached in following:
                if reached not in seen:
                    seen.add(reached)
                    stack.append(reached)
            self.fuel[0] -= 1
            if self.fuel[0] < 0:
                raise GrammarTooLarge("the pattern takes too long to compile")
        return frozenset(kept)

    def reached(self, first: int) -> tuple[int, ...] | None:
        """What `close` keeps of one state; None where a lookaround stands on the way."""
        if first in self.plain:
            return self.plain[first]
        seen = {first}
        stack = [first]
        kept = []
        while stack:
            state = stack.pop()
            if state in self.nfa.guards:
                self.plain[first] = None
                return None
            if self.nfa.edges[state] is not None or state == self.last:
                kept.append(state)
            for after in self.nfa.moves[state]:
                if after not in seen:
                    seen.add(after)
                    stack.append(after)
        self.fuel[0] -= len(seen)
        self.plain[first] = tuple(kept)
        return self.plain[first]

    def run(self) -> CharDfa:
        past = tuple(1 for _ in self.behind)
        start = (self.close([(self.first, frozenset())], past), past)
        ids: dict[tuple[frozenset[Thread], tuple[int, ...]], int] = {start: 1}
        order = [start]
        num_classes = self.alphabet.num_classes
        rows: list[list[int]] = [[0] * num_classes]
        for threads, past in order:
            moved: list[set[Thread]] = [set() for _ in range(num_classes)]
            for state, duties in threads:
                edge = self.nfa.edges[state]
                if edge is None:
                    continue
                self.fuel[0] -= len(edge[0])
                for c in edge[0]:
                    kept = self._step(duties, c) if duties else duties
                    if kept is not None:
                        moved[c].add((edge[1], kept))
            if self.fuel[0] < 0:
                raise GrammarTooLarge("the pattern takes too long to compile")
            row = []
            memo: dict[frozenset[Thread], int] = {}
            for c, found in enumerate(moved):
                if not found:
                    row.append(0)
                    continue
                raw = frozenset(found)
                target = memo.get(raw, 0) if not self.behind else 0
                if not target:
                    now = tuple(int(dfa.table[s, c]) for dfa, s in zip(self.behind, past, strict=True))
                    key = (self.close(list(found), now), now)
                    target = ids.get(key, 0)
                    if not target and key[0]:
                        if len(order) >= 2 * MAX_STATES:
                            raise GrammarTooLarge("the pattern needs too many states")
                        target = ids[key] = len(order) + 1
                        order.append(key)
                    memo[raw] = target
                row.append(target)
            rows.append(row)
        accepting = np.array([False, *(self._accepts(threads) for threads, _ in order)])
        dfa = minimise(CharDfa(np.array(rows, np.int32).reshape(len(rows), num_classes), accepting))
        if len(dfa.table) > MAX_STATES + 1:
            raise GrammarTooLarge("the pattern needs too many states")
        return dfa

    def _step(self, duties: frozenset[tuple[int, int]], c: int) -> frozenset[tuple[int, int]] | None:
        stepped = set()
        for index, state in duties:
            after = int(self.ahead[index].table[state, c])
            if after == 0:
                return None
            stepped.add((index, after))
        return frozenset(stepped)

    def _accepts(self, threads: frozenset[Thread]) -> bool:
        return any(
            state == self.last and all(self.ahead[i].accepting[s] for i, s in duties) for state, duties in threads
        )


def determinise(node: Node, alphabet: Alphabet | None = None, fuel: list[int] | None = None) -> CharDfa:
    """The minimal automaton of the tree. Raises GrammarTooLarge past the limits, UnsupportedGrammar."""
    alphabet = alphabet or alphabet_of(char_sets(node))
    return _Subsets(node, alphabet, fuel if fuel is not None else [FUEL]).run()


def _looks(node: Node, *, behind: bool) -> bool:
    match node:
        case Look(inner, is_behind, _):
            return is_behind == behind or _looks(inner, behind=behind)
        case Seq(children) | Alt(children):
            return any(_looks(child, behind=behind) for child in children)
        case Repeat(inner, _, _):
            return _looks(inner, behind=behind)
        case _:
            return False


def complement(dfa: CharDfa) -> CharDfa:
    """Accepts what `dfa` does not: its dead state becomes a live one that accepts for ever."""
    num_states, num_classes = dfa.table.shape
    table = np.zeros((num_states + 1, num_classes), np.int32)
    table[1:num_states] = np.where(dfa.table[1:] == 0, num_states, dfa.table[1:])
    table[num_states] = num_states
    accepting = np.concatenate([[False], ~dfa.accepting[1:], [True]])
    return minimise(CharDfa(table, accepting))


def minimise(dfa: CharDfa) -> CharDfa:
    """The smallest automaton of the same language; states that cannot accept any more become 0.

    Moore's refinement on 64-bit hashes of (label, labels of the successors): states that differ collide with
    probability 2^-64.
    """
    table, accepting = dfa.table, dfa.accepting
    live = _live(table, accepting)
    table = np.where(live[table], table, 0)
    table[0] = 0
    if not live[1]:
        return CharDfa(np.zeros((2, table.shape[1]), np.int32), np.zeros(2, np.bool_))
    random = np.random.default_rng(0)
    weights = random.integers(1, 2**63, (table.shape[1], 2), np.uint64) | np.uint64(1)
    labels = np.where(live, 1 + accepting.astype(np.int64), 0)
    count = 0
    while True:
        hashes = labels.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        mixed = labels[table].astype(np.uint64) * np.uint64(0xD6E8FEB86659FD93)
        hashes = hashes + ((mixed ^ (mixed >> np.uint64(29))) * weights[:, 0]).sum(axis=1, dtype=np.uint64)
        hashes[~live] = 0
        _, labels = np.unique(hashes, return_inverse=True)
        found = int(labels.max()) + 1
        if found == count:
            break
        count = found
    names = np.zeros(count, np.int32)  # label → new state
    dead = np.flatnonzero(~live)
    order = [int(labels[1])]
    names[order[0]] = 1
    representative = np.zeros(count, np.int64)
    representative[labels[::-1]] = np.arange(len(labels))[::-1]
    dead_labels = {int(labels[s]) for s in dead}
    for label in order:
        for target in labels[table[representative[label]]]:
            if target not in dead_labels and not names[target]:
                order.append(int(target))
                names[target] = len(order)
    kept = representative[order]
    new_table = np.zeros((len(order) + 1, table.shape[1]), np.int32)
    new_table[1:] = names[labels[table[kept]]]
    return CharDfa(new_table, np.concatenate([[False], accepting[kept]]))


def _live(table: NDArray[np.int32], accepting: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """States from which some text is accepted."""
    live = accepting.copy()
    live[0] = False
    num_states = len(table)
    pairs = np.unique(table.astype(np.int64) * num_states + np.arange(num_states)[:, None])
    targets, sources = np.divmod(pairs, num_states)
    bounds = np.searchsorted(targets, np.arange(num_states + 1)).tolist()
    before = sources.tolist()
    stack = [int(s) for s in np.flatnonzero(live)]
    while stack:
        state = stack.pop()
        for source in before[bounds[state] : bounds[state + 1]]:
            if source and not live[source]:
                live[source] = True
                stack.append(source)
    return live
