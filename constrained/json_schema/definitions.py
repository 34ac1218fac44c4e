"""What is written under `$defs` of a normalised schema: each part once, by the name that others refer to it with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from .complement import Schema, canonical
from .references import escape
from .refusal import unsupported
from .source import Source


class Place(NamedTuple):
    """Where a part of a schema stands."""

    pointer: str
    base: str
    depth: int
    is_closable: bool
    """OpenAI's strict mode: objects here are closed unless they say otherwise."""

    def down(self, *steps: str, is_closable: bool = True) -> Place:
        """Of what is inside."""
        path = "/".join([self.pointer, *map(escape, steps)])
        return Place(path, self.base, self.depth + 1, is_closable)


class Definitions:
    """Of one schema. Iterated over, gives what is to be normalised, by name, until nobody asks for more."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.origins: dict[str, str] = {}
        """Where each definition stood."""
        self._names: dict[str, str] = {}  # by the pointer of a reference's target
        self._waiting: list[tuple[str, Any, Place]] = []
        self._twins: dict[tuple[int, str, bool], Schema] = {}
        self._refusals: dict[str, Schema] = {}  # a schema that is refused, as text → its definition
        self._refused_as: dict[int, tuple[str, str, Any]] = {}  # by identity: base, key of the above, the schema

    def __iter__(self) -> Iterator[tuple[str, Any, Place]]:
        while self._waiting:
            yield self._waiting.pop()

    def reference(self, key: str, value: str, place: Place) -> Schema:
        """A reference to the target under `$defs`, which is normalised once."""
        if key != "$ref" and self.source.references.is_ambiguous(key, value):
            raise unsupported(f"{key} may lead to several places; use $ref", key, f"{place.pointer}/{key}")
        target = self.source.target(value, place.base, f"{place.pointer}/{key}")
        name = self._names.get(target.pointer)
        if name is None:
            name = self._names[target.pointer] = f"d{len(self._names)}"
            self.origins[name] = target.pointer
            self._waiting.append((name, target.node, Place(target.pointer, target.base, 0, place.is_closable)))
        return {"$ref": f"#/$defs/{name}"}

    def hoisted(self, node: Any, place: Place) -> Schema:
        """A reference to `node`, which moves under `$defs`."""
        name = f"d{len(self._names)}"
        self._names[f"{place.pointer}!{name}"] = name
        self.origins[name] = place.pointer
        self._waiting.append((name, node, place._replace(depth=0)))
        return {"$ref": f"#/$defs/{name}"}

    def twin(self, node: Any, place: Place) -> Schema | None:
        """A reference to the one definition of objects that say the same; None: there are no others."""
        number = self.source.twins.number(node)
        if number is None:
            return None
        key = (number, place.base, place.is_closable)
        known = self._twins.get(key)
        if known is None:
            known = self._twins[key] = self.hoisted(node, place)
        return known

    def refusal(self, value: Any, place: Place) -> Schema:
        """A schema that documents must not satisfy, normalised once."""
        first = self._refused_as.get(id(value))
        key = f"{place.base} {canonical(value)}" if first is None or first[0] != place.base else first[1]
        self._refused_as[id(value)] = (place.base, key, value)
        if key not in self._refusals:
            self._refusals[key] = True  # in case it leads round to itself
            self._refusals[key] = self.hoisted(value, place._replace(is_closable=False))
        return self._refusals[key]
