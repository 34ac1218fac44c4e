"""A schema's `pattern` as the engine's regex: ECMA-262's meaning, narrowed to what Python's `re` matches too.

Validators disagree on what `\\d` or `.` means beyond ASCII; what is generated satisfies them all.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ...errors import GrammarError, GrammarSyntaxError
from ..fsm.determinise import Alphabet, CharDfa, alphabet_of, determinise
from ..fsm.determinise import complement as complement_of
from ..fsm.edges import without_edges
from ..fsm.fallback import to_engine
from ..fsm.pattern import END, START, Alt, Look, Node, Seq, char_sets, has_look, read_tree, strip_anchors
from ..fsm.regex_of import regex_of
from .controls import writable
from .strings import ANYTHING, listed, outside
from .unicode_sets import members_text

REMEMBERED = 512  # patterns, and pairs of them: schemas repeat theirs
MAX_PAIRS = 50_000  # of states of two patterns that are compared


def search_tree(pattern: str) -> Node:
    """The tree of all strings in which `pattern` is found, without anchors or lookarounds. Raises a GrammarError."""
    found = _flat_tree(pattern)
    if isinstance(found, GrammarError):
        raise found.with_traceback(None)
    return found


@lru_cache(maxsize=REMEMBERED)
def _flat_tree(pattern: str) -> Node | GrammarError:
    try:
        return flatten(_found_tree(pattern))
    except GrammarError as error:
        return error


def search_trees(pattern: str) -> list[Node]:
    """Trees that a string must match all, so that `pattern` is found in it: what looks ahead in front stands apart.

    For the engine, which intersects them while it goes: one tree of them all may be huge. Raises a GrammarError.
    """
    tree = without_edges(strip_anchors(_found_tree(pattern)))
    parts = list(tree.parts) if isinstance(tree, Seq) else [tree]
    apart: list[Node] = []
    for part in parts[:-1]:
        if not isinstance(part, Look) or part.behind:
            break
        apart.append(_ahead(part.node, is_refused=part.negate))
    return [*apart, flatten(Seq(tuple(parts[len(apart) :])))]


def _ahead(node: Node, *, is_refused: bool) -> Node:
    """Strings that begin (or do not) with what a lookahead in front of them asks for."""
    strings = listed(node) if is_refused else None
    if strings is not None:
        return outside(strings, as_beginnings=True)
    tree = flatten(Seq((node, ANYTHING)))
    return complement(tree) if is_refused else tree


def _found_tree(pattern: str) -> Node:
    return _found(read_tree(ecma_to_python(pattern), narrow=True))


def engine_pattern(tree: Node) -> str:
    """The tree, without what strings are not written with, as the text of a `pattern` that llguidance takes."""
    tree = writable(tree)
    written = f"^(?:{to_engine(tree)})$"
    if len(_written) >= REMEMBERED:
        _written.clear()
    _written[written] = tree
    return written


_written: dict[str, Node] = {}


def tree_written(pattern: str) -> Node | None:
    """The tree of which `engine_pattern` has made this lately."""
    return _written.get(pattern)


def flatten(tree: Node) -> Node:
    """The same language without lookarounds."""
    tree = without_edges(strip_anchors(tree))
    if not has_look(tree):
        return tree
    alphabet = alphabet_of(char_sets(tree))
    return regex_of(determinise(tree, alphabet), alphabet)


def complement(tree: Node) -> Node:
    """Every string that the tree does not match. Raises GrammarTooLarge."""
    strings = listed(tree)
    if strings is not None:
        return outside(strings)
    alphabet = alphabet_of(char_sets(tree))
    return regex_of(complement_of(determinise(tree, alphabet)), alphabet)


@lru_cache(maxsize=REMEMBERED)
def found_nowhere(pattern: str) -> Node | None:
    """The tree of all strings in which `pattern` is not found; None where it would be too large."""
    try:
        strings = listed(search_tree(pattern))
        if strings is not None:
            return outside(strings)
        found = _automaton(pattern)
        return None if found is None else regex_of(complement_of(found.dfa), found.alphabet)
    except GrammarError:
        return None


@lru_cache(maxsize=8 * REMEMBERED)
def are_apart(one: str, other: str) -> bool:
    """Whether no string matches both patterns; False also where that would take too long to say."""
    first, second = _automaton(one), _automaton(other)
    return first is not None and second is not None and not _overlap(first, second)


class _Automaton(NamedTuple):
    dfa: CharDfa
    alphabet: Alphabet


@lru_cache(maxsize=REMEMBERED)
def _automaton(pattern: str | Node) -> _Automaton | None:
    """Of all strings in which a pattern is found, or that match a tree made of one; None: it would be too large."""
    try:
        return _automaton_of(search_tree(pattern) if isinstance(pattern, str) else pattern)
    except GrammarError:
        return None


def _automaton_of(tree: Node) -> _Automaton:
    alphabet = alphabet_of(char_sets(tree))
    return _Automaton(determinise(tree, alphabet), alphabet)


def _overlap(one: _Automaton, other: _Automaton) -> bool:
    """Whether some string is accepted by both, or that would take too long to say."""
    starts = {*one.alphabet.starts, *other.alphabet.starts}
    shared = {(one.alphabet.class_of(start), other.alphabet.class_of(start)) for start in starts}
    columns = np.array(sorted(pair for pair in shared if min(pair) >= 0))
    rows, other_rows = one.dfa.table[:, columns[:, 0]].tolist(), other.dfa.table[:, columns[:, 1]].tolist()
    seen = {(1, 1)}
    stack = [(1, 1)]
    while stack and len(seen) <= MAX_PAIRS:
        p, q = stack.pop()
        if one.dfa.accepting[p] and other.dfa.accepting[q]:
            return True
        for pair in zip(rows[p], other_rows[q], strict=True):
            if pair[0] and pair[1] and pair not in seen:
                seen.add(pair)
                stack.append(pair)
    return bool(stack)


def matcher_of(tree: Node) -> Callable[[str], bool]:
    """Says of texts whether the tree matches all of one. Raises GrammarTooLarge."""
    found = _automaton_of(tree)
    return lambda text: _accepts(found, text)


@lru_cache(maxsize=8 * REMEMBERED)
def is_found(pattern: str | Node, text: str) -> bool | None:
    """Whether the pattern is found in the text, or a tree made of one matches all of it; None: that cannot be said."""
    found = _automaton(pattern)
    return None if found is None else _accepts(found, text)


def _accepts(automaton: _Automaton, text: str) -> bool:
    dfa, alphabet = automaton
    state = 1
    for character in text:
        found = alphabet.class_of(ord(character))
        if found < 0:  # half a surrogate pair is no character
            return False
        state = int(dfa.table[state, found])
    return bool(dfa.accepting[state])


def _found(node: Node) -> Node:
    """`node` anywhere in a string; anchors at its ends make that exact places."""
    if isinstance(node, Alt):
        return Alt(tuple(_found(option) for option in node.options))
    if isinstance(node, Seq) and len(node.parts) == 1:
        return _found(node.parts[0])
    parts = list(node.parts) if isinstance(node, Seq) else [node]
    before = [] if parts and parts[0] == START else [ANYTHING]
    after = [] if parts and parts[-1] == END else [ANYTHING]
    return Seq((*before, *parts, *after))


def ecma_to_python(pattern: str) -> str:
    r"""ECMA-262's spellings that Python writes otherwise: `(?<name>…)`, `\/`, `\u{…}`, `\p{L}`, `\cX`, `[\w-.]`."""
    result: list[str] = []
    i = 0
    in_class = False
    while i < len(pattern):
        pair = pattern[i : i + 2]
        if pair.startswith("\\") and len(pair) == 2:
            i += 2
            if pair == "\\u" and pattern[i : i + 1] == "{":
                close = pattern.find("}", i)
                try:
                    code = int(pattern[i + 1 : close], 16)
                    result.append(f"\\U{code:08x}")
                except ValueError:
                    raise GrammarSyntaxError("bad escape \\u{…} in a pattern") from None
                i = close + 1
            elif pair in ("\\p", "\\P") and (members := _named_set(pair, pattern, i)) is not None:
                result.append(members if in_class else f"[{members}]")
                i = pattern.find("}", i) + 1
            elif pair == "\\c" and pattern[i : i + 1].isalpha():
                result.append(f"\\x{ord(pattern[i].upper()) - 64:02x}")
                i += 1
            elif pair == "\\/":
                result.append("/")
            elif in_class and pair[1] in "wWdDsS" and pattern[i : i + 1] == "-" and pattern[i + 1 : i + 2] != "]":
                result.append(pair + "\\-")  # no range begins with a class
                i += 1
            else:
                result.append(pair)
        elif pattern.startswith("(?<", i) and pattern[i + 3 : i + 4] not in ("=", "!"):
            result.append("(?P<")
            i += 3
        else:
            in_class = pattern[i] != "]" if in_class else pattern[i] == "["
            result.append(pattern[i])
            i += 1
    return "".join(result)


def _named_set(pair: str, pattern: str, i: int) -> str | None:
    """The set that `\\p` or `\\P` and the braces at `i` name, as members of a class; None: it is not known."""
    if pattern[i : i + 1] != "{" or "}" not in pattern[i:]:
        return None
    return members_text(pattern[i + 1 : pattern.find("}", i)], is_negated=pair == "\\P")
