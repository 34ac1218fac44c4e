"""A normalised schema that is too much for the engine, made lighter: a part is left to a judge.

The engine multiplies alternatives that hold at once, and merges what several schemas say of one value. First one of
several sets of alternatives is kept for it; if that is not enough, one of several schemas that refer to others or have
patterns.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from ...errors import GrammarError
from ..fsm.pattern import Alt
from .inside import DATA, NAMED, parts_of
from .marks import HOLDS, MARKS
from .names import both
from .patterns import engine_pattern, is_found
from .roomy import written_tree
from .strings import inside


def lighter(schema: Any, *, without_merging: bool) -> Any:
    """The same documents. `without_merging`: no reference stands beside another schema."""
    return _Lightener(without_merging).schema(schema)


class _Lightener:
    def __init__(self, without_merging: bool) -> None:
        self.without_merging = without_merging
        self.refers: dict[int, bool] = {}  # by identity, of the schema as given
        self.sizes: dict[int, int] = {}  # by identity, of what was made of it
        self.kept: list[Any] = []  # so that identities stay apart

    def schema(self, node: Any) -> Any:
        if isinstance(node, list):
            return [self.schema(inner) for inner in node]
        if not isinstance(node, dict):
            return node
        out = {key: value if key in DATA or key in MARKS else self.below(key, value) for key, value in node.items()}
        if self.without_merging and "patternProperties" in out:
            out = self.with_one_pattern(out)
            if HOLDS in out:
                return out
        parts = parts_of(out)
        heavy = [part for part in parts if self.is_heavy(part)]
        if len(parts) < 2 or len(heavy) < (1 if self.without_merging else 2):
            return out
        largest = max(heavy, key=self.size)
        left = [part for part in parts if part is largest or not (self.without_merging or self.is_heavy(part))]
        judged = [part for part in parts if not any(part is other for other in left)]
        held = [{HOLDS: {"schema": part, "pointer": "#"}} for part in judged]
        definitions = {"$defs": out["$defs"]} if "$defs" in out else {}
        return {"allOf": [*left, *held], **definitions}

    def with_one_pattern(self, node: dict[str, Any]) -> dict[str, Any]:
        """The engine need not see that patterns for names are apart, nor merge what they say with what is said of a
        listed name; a judge tells whose name is whose."""
        patterns = node["patternProperties"]
        trees = [tree for tree in map(written_tree, patterns) if tree is not None]
        touched = [name for name in node.get("properties", {}) if any(is_found(tree, name) for tree in trees)]
        if len(patterns) < 2 and not touched:
            return node
        names = "|".join(f"(?:{pattern})" for pattern in patterns)
        if touched and len(trees) == len(patterns):
            with suppress(GrammarError):  # too large
                names = engine_pattern(both([Alt(tuple(trees))], [inside(touched)]))
        whole = {key: value for key, value in node.items() if key != "$defs"}
        one = {names: {"anyOf": list(patterns.values())}}
        return {**node, "patternProperties": one, HOLDS: {"schema": whole, "pointer": "#"}}

    def below(self, key: str, value: Any) -> Any:
        if key in NAMED:
            return {name: self.schema(inner) for name, inner in value.items()}
        return self.schema(value)

    def is_heavy(self, part: Any) -> bool:
        if not isinstance(part, dict) or "anyOf" in part or not self.without_merging:
            return isinstance(part, dict) and "anyOf" in part
        return "pattern" in part or self.has_reference(part)

    def size(self, node: Any) -> int:
        """How many parts it has."""
        if not isinstance(node, dict | list):
            return 1
        known = self.sizes.get(id(node))
        if known is None:
            known = 1 + sum(map(self.size, node.values() if isinstance(node, dict) else node))
            self.sizes[id(node)] = known
            self.kept.append(node)
        return known

    def has_reference(self, node: Any) -> bool:
        """Whether a reference stands anywhere in it."""
        if not isinstance(node, dict):
            return isinstance(node, list) and any(map(self.has_reference, node))
        known = self.refers.get(id(node))
        if known is None:
            known = self.refers[id(node)] = "$ref" in node or any(map(self.has_reference, node.values()))
            self.kept.append(node)
        return known
