"""Names that an object may still take, where its schema allows only listed ones and those of patterns.

A grammar lets a name begin although every name that begins so is in the object already. How many strings of a pattern
begin with some bytes is known of its automaton; those in the object are counted off.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from ...errors import GrammarError
from ..fsm.automaton import ByteDfa
from ..fsm.choices import of_strings
from ..fsm.determinise import alphabet_of, determinise
from ..fsm.fallback import from_engine
from ..fsm.pattern import Alt, Node, Repeat, Seq, char_sets, shortest_len, strip_anchors
from ..fsm.utf8 import to_bytes
from .inside import BESIDE, inner_schemas
from .patterns import tree_written
from .strings import listed

REMEMBERED = 256  # patterns and, of one schema, places and names asked for
MAX_DEPTH = 64  # containers around a place that is looked up

Path = tuple[bytes | None, ...]
"""The names, as they are spelled, under which containers stand, from the root; None: an item."""


class _Names(NamedTuple):
    """Of one object schema that is closed."""

    listed: tuple[bytes, ...]
    """They come before those of patterns, each once."""
    is_ordered: bool
    """They come in their order."""
    refused: frozenset[bytes]
    """Listed, and never there: no pattern takes them either."""
    dfa: ByteDfa
    num_after: Sequence[float]
    """By state of `dfa`: how many strings are accepted from there."""

    def holds(self, used: frozenset[bytes]) -> bool:
        """Whether an object with the names in `used` may be of this schema."""
        return all(name in self.listed or self.dfa.accepts(name) for name in used)

    def may_begin(self, prefix: bytes, used: frozenset[bytes]) -> bool:
        """Whether a name that is not in `used` begins with `prefix`."""
        if used.issubset(self.listed):
            places = [place for place, name in enumerate(self.listed, 1) if name in used]
            coming = self.listed[places[-1] :] if places and self.is_ordered else self.listed
            if any(name.startswith(prefix) and name not in used for name in coming):
                return True
        state = self.dfa.step(1, prefix)
        left = self.num_after[state]
        if left and left != math.inf:
            taken = used.union(self.listed, self.refused)
            left -= sum(name.startswith(prefix) and self.dfa.accepts(name) for name in taken)
        return left > 0


class NamesLeft:
    """Of the objects of one normalised schema, in the engine's words. Thread-safe."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._definitions: dict[str, Any] = schema.get("$defs", {})
        self._root = self._spread([schema])
        self._known: dict[Path, tuple[_Names, ...] | None] = {}
        self._may_begin: dict[tuple[Path, bytes, frozenset[bytes]], bool] = {}

    def may_begin(self, path: Path, prefix: bytes, used: frozenset[bytes]) -> bool:
        """Whether a name that is not in `used` may begin with `prefix` in the object at `path`; True where nobody
        knows. Names as they are spelled; errs towards True."""
        asked = path, prefix, used
        known = self._may_begin.get(asked)
        if known is None:
            known = self._finds(path, prefix, used)
            if len(self._may_begin) >= REMEMBERED:
                self._may_begin.clear()
            self._may_begin[asked] = known
        return known

    def _finds(self, path: Path, prefix: bytes, used: frozenset[bytes]) -> bool:
        names = self._at(path)
        if names is None:
            return True
        text = _read(prefix)
        if text is None:
            return True
        texts = frozenset(found for name in used if (found := _read(name)) is not None)
        possible = [one for one in names if one.holds(texts)]
        return not possible or any(one.may_begin(text, texts) for one in possible)

    def _at(self, path: Path) -> tuple[_Names, ...] | None:
        """The names of each schema that the object at `path` may be of; None: not all of them are known."""
        known = self._known.get(path, ())
        if known != ():
            return known
        here = self._root
        for step in path[:MAX_DEPTH]:
            here = self._spread(self._below(here, step))
        found = None if len(path) > MAX_DEPTH else self._names_of(here)
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[path] = found
        return found

    def _names_of(self, schemas: list[Any]) -> tuple[_Names, ...] | None:
        found: list[_Names] = []
        for schema in schemas:
            options = self._options(schema, frozenset())
            if options is None:
                return None
            found += options
        return tuple(found)

    def _options(self, schema: Any, above: frozenset[str]) -> list[_Names] | None:
        """The names of each alternative of a schema; None: one of them has names that are not known."""
        if not isinstance(schema, dict):
            return None
        own = _closed(schema)
        if own is not None:
            return [own]
        for inner in schema.get("allOf", ()):
            options = self._options(inner, above)
            if options is not None:
                return options
        target = str(schema.get("$ref", "")).removeprefix("#/$defs/")
        if target in self._definitions and target not in above:
            options = self._options(self._definitions[target], above | {target})
            if options is not None:
                return options
        if "anyOf" not in schema:
            return None
        found: list[_Names] = []
        for inner in schema["anyOf"]:
            if inner is False or (isinstance(inner, dict) and _is_no_object(inner)):
                continue
            options = self._options(inner, above)
            if options is None:
                return None
            found += options
        return found

    def _spread(self, schemas: list[Any]) -> list[Any]:
        """Without those that no object or array is of."""
        return [s for s in schemas if s is not None and s is not False and not (isinstance(s, dict) and _is_scalar(s))]

    def _below(self, schemas: list[Any], step: bytes | None) -> list[Any]:
        """The schemas that may be of a property or an item; patterns are taken to match every name."""
        name = None if step is None else _read(step)
        text = None if name is None else name.decode(errors="replace")
        found: list[Any] = []
        waiting, seen = list(schemas), set[int]()
        while waiting:
            schema = waiting.pop()
            if id(schema) in seen:
                continue
            seen.add(id(schema))
            if not isinstance(schema, dict):
                found.append(True)
                continue
            waiting += [*schema.get("allOf", ()), *schema.get("anyOf", ())]
            if "$ref" in schema:
                waiting.append(self._definitions.get(str(schema["$ref"]).removeprefix("#/$defs/"), True))
            says = schema.keys() & ({"items", "prefixItems"} if step is None else _OF_NAMES)
            if not says:
                is_whole = not schema.keys() & {"allOf", "anyOf", "$ref"}
                found += [True] if is_whole and not _is_scalar(schema) else []
            elif step is None:
                found += [*schema.get("prefixItems", ()), schema.get("items", True)]
            elif text in schema.get("properties", {}):
                found.append(schema["properties"][text])
            else:
                found += [*schema.get("patternProperties", {}).values(), schema.get("additionalProperties", True)]
        return found


_OF_NAMES = frozenset(["properties", "patternProperties", "additionalProperties"])


def names_left(schema: Any) -> NamesLeft | None:
    """None: no object of the schema can run out of names, or of those that begin in some way."""
    return NamesLeft(schema) if isinstance(schema, dict) and _may_run_out(schema) else None


def _may_run_out(schema: Any) -> bool:
    if not isinstance(schema, dict):
        return False
    own = _closed(schema)
    if own is not None and any(0 < left < math.inf for left in own.num_after):
        return True
    return any(map(_may_run_out, inner_schemas(schema)))


def _is_scalar(schema: dict[str, Any]) -> bool:
    """Whether a schema's type says that it has nothing inside."""
    kinds = schema.get("type")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    return isinstance(kinds, list) and not {"object", "array"} & set(kinds)


def _is_no_object(schema: dict[str, Any]) -> bool:
    kinds = schema.get("type")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    return isinstance(kinds, list) and "object" not in kinds


def _closed(schema: dict[str, Any]) -> _Names | None:
    """The names of a schema with patterns, if it allows no other ones and they can be counted."""
    patterns = schema.get("patternProperties")
    if schema.get("additionalProperties") is not False or not isinstance(patterns, dict) or not patterns:
        return None
    automaton = counted(tuple(text for text, inner in patterns.items() if inner is not False))
    if automaton is None:
        return None
    properties = schema.get("properties", {})
    listed = tuple(name.encode(errors="replace") for name, inner in properties.items() if inner is not False)
    is_ordered = not schema.keys() & BESIDE - {"$defs"}
    refused = frozenset(name.encode(errors="replace") for name, inner in properties.items() if inner is False)
    return _Names(listed, is_ordered, refused, *automaton)


@lru_cache(maxsize=REMEMBERED)
def counted(patterns: tuple[str, ...]) -> tuple[ByteDfa, list[float]] | None:
    """The automaton of what any of the patterns matches, and how many strings follow each state; None: too large, or
    every beginning has endless many."""
    try:
        trees = [tree_written(text) or strip_anchors(from_engine(text)) for text in patterns]
        if all(map(_is_endless, trees)):
            return None
        tree = Alt(tuple(trees))
        strings = listed(tree)
        if strings is not None:
            dfa = of_strings([text.encode() for text in strings])
        else:
            alphabet = alphabet_of(char_sets(tree))
            dfa = to_bytes(determinise(tree, alphabet), alphabet)
    except GrammarError:
        return None
    return dfa, dfa.num_after


def _is_endless(tree: Node) -> bool:
    """Whether every text that begins what matches goes on in endless many ways, as it can be seen at its end."""
    match tree:
        case Alt(options):
            return all(map(_is_endless, options))
        case Seq(parts):
            return bool(parts) and _is_endless(parts[-1])
        case Repeat(inner, _, None):
            return 0 < shortest_len(inner) < math.inf
    return False


def _read(name: bytes) -> bytes | None:
    """The text, in UTF-8, of a name or its beginning as it is spelled; None: it ends in the midst of an escape."""
    if b"\\" not in name:
        return name
    try:
        text: str = json.loads(b'"' + name + b'"')
        return text.encode()
    except ValueError:
        return None
