"""References that lead round in a circle and stand beside other keywords: the engine takes those only by themselves.

Each such reference, with what stands beside it, becomes a definition of its own in which the target is written out; the
same combination further down refers to it again.
"""

from __future__ import annotations

import json
from typing import Any

from ...errors import UnsupportedGrammar
from .inside import inner_schemas, parts_of
from .refusal import unsupported

MAX_MADE = 400
MAX_REWRITTEN = 20_000
"""Schemas, beside those that the definitions hold: alternatives that hold at once multiply."""
NAMED = ("properties", "patternProperties", "$defs")


def unrolled(root: Any, definitions: dict[str, Any], origins: dict[str, str]) -> tuple[Any, dict[str, Any]]:
    """Root and definitions without such references. Raises UnsupportedGrammar for one that leads to itself."""
    circular = _circular(definitions)
    return (root, definitions) if not circular else _Unroller(definitions, circular, origins).run(root)


class _Unroller:
    def __init__(self, definitions: dict[str, Any], circular: set[str], origins: dict[str, str]) -> None:
        self.definitions = definitions
        self.circular = circular
        self.origins = origins
        self.made: dict[str, str] = {}  # a combination, as text → its definition
        self.waiting: list[tuple[str, list[Any]]] = []
        self.left = MAX_REWRITTEN

    def run(self, root: Any) -> tuple[Any, dict[str, Any]]:
        root = self.rewrite(root)
        found = {name: self.rewrite(schema) for name, schema in self.definitions.items()}
        while self.waiting:
            name, parts = self.waiting.pop()
            found[name] = self.distributed(parts)
        return root, found

    def rewrite(self, schema: Any) -> Any:
        """The schema, its combinations with circular references replaced."""
        parts = parts_of(schema)
        if len(parts) < 2 or not any(self.leads_round(part) for part in parts):
            return self.below(schema)
        if not any(self.target(part) for part in parts):
            return self.distributed(parts)
        flat = self.written_out(parts, frozenset())
        key = json.dumps(parts, sort_keys=True, default=repr)
        name = self.made.get(key)
        if name is None:
            if len(self.made) >= MAX_MADE:
                raise self.too_many()
            name = self.made[key] = f"c{len(self.made)}"
            self.waiting.append((name, flat))
        return {"$ref": f"#/$defs/{name}"}

    def distributed(self, parts: list[Any]) -> Any:
        """What holds when all parts do; alternatives of which one leads round in a circle stand outside."""
        for i, part in enumerate(parts):
            if len(parts) > 1 and self.leads_round(part):
                self.left -= len(part["anyOf"]) * len(parts)
                if self.left < 0:
                    raise self.too_many()
                before, after = parts[:i], parts[i + 1 :]
                return {"anyOf": [self.rewrite({"allOf": [*before, option, *after]}) for option in part["anyOf"]]}
        return {"allOf": [self.below(part) for part in parts]}

    def too_many(self) -> UnsupportedGrammar:
        message = "too many combinations of circular references with other keywords"
        return unsupported(message, "$ref", f"{self.origins[next(iter(self.circular))]}/$ref")

    def leads_round(self, part: Any) -> bool:
        """Whether the engine would come to a circular reference in the part's own place."""
        if self.target(part) is not None:
            return True
        options = part.get("anyOf", []) if isinstance(part, dict) else []
        return any(self.leads_round(inner) for option in options for inner in parts_of(option))

    def written_out(self, parts: list[Any], taken: frozenset[str]) -> list[Any]:
        """The parts with circular references replaced by what they lead to, which stands in the same place."""
        flat: list[Any] = []
        for part in parts:
            name = self.target(part)
            if name is None:
                flat.append(part)
                continue
            if name in taken:
                raise unsupported("the reference leads to itself", "$ref", f"{self.origins[name]}/$ref")
            flat += self.written_out(parts_of(self.definitions[name]), taken | {name})
        return flat

    def target(self, part: Any) -> str | None:
        """The circular definition to which a part leads that is a reference alone."""
        if not isinstance(part, dict) or part.keys() != {"$ref"}:
            return None
        name = str(part["$ref"]).removeprefix("#/$defs/")
        return name if name in self.circular else None

    def below(self, schema: Any) -> Any:
        """The schema with what it holds rewritten, itself left as it is."""
        if not isinstance(schema, dict):
            return schema
        out: dict[str, Any] = {}
        for key, value in schema.items():
            if key in NAMED:
                out[key] = {name: self.rewrite(inner) for name, inner in value.items()}
            elif key in ("items", "additionalProperties"):
                out[key] = self.rewrite(value)
            elif key in ("anyOf", "prefixItems", "allOf"):
                out[key] = [self.rewrite(inner) for inner in value]
            else:
                out[key] = value
        return out


def _circular(definitions: dict[str, Any]) -> set[str]:
    """The definitions that reach themselves."""
    following = {name: _references(schema) & definitions.keys() for name, schema in definitions.items()}
    left = dict(following)
    while ended := [name for name, others in left.items() if not others & left.keys()]:
        for name in ended:  # it leads to no circle
            del left[name]
    return {name for name in left if _reaches(name, left)}


def _reaches(name: str, following: dict[str, set[str]]) -> bool:
    """Whether a definition leads back to itself."""
    seen: set[str] = set()
    waiting = list(following[name])
    while waiting:
        other = waiting.pop()
        if other == name:
            return True
        if other not in seen:
            seen.add(other)
            waiting += following.get(other, ())
    return False


def _references(schema: Any) -> set[str]:
    found: set[str] = set()
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                found.add(node["$ref"].removeprefix("#/$defs/"))
            waiting += inner_schemas(node)
    return found
