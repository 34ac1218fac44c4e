"""Which arrays of a document must hold distinct items, by where they stand in it.

A normalised schema marks them with UNIQUE, and the pointer of the `uniqueItems` that says so. Where alternatives lead
to one place, a mark in any of them counts: items are then kept distinct in all, which is narrower and never wider.
"""

from __future__ import annotations

from typing import Any

from .cursor import Path

UNIQUE = "x-unique"


def first_unique(schema: Any) -> str | None:
    """The JSON pointer of a `uniqueItems` that is checked while items are written; None: there is none."""
    if isinstance(schema, dict):
        if isinstance(schema.get(UNIQUE), str):
            return str(schema[UNIQUE])
        inner = [value for key, value in schema.items() if key not in ("const", "enum")]
    else:
        inner = schema if isinstance(schema, list) else []
    return next((found for value in inner if (found := first_unique(value)) is not None), None)


class Places:
    """The marked arrays of one normalised schema. What is found is remembered: paths repeat."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._definitions: dict[str, Any] = root.get("$defs", {})
        self._root = self._spread([root])

    def is_unique(self, path: Path) -> bool:
        """Whether the array at `path` must hold distinct items."""
        here = self._root
        for step in path:
            here = self._spread(self._below(here, step))
        return any(UNIQUE in schema for schema in here)

    def _spread(self, schemas: list[Any]) -> list[dict[str, Any]]:
        """The schemas with all that applies to the same value."""
        found: dict[int, dict[str, Any]] = {}
        waiting = list(schemas)
        while waiting:
            schema = waiting.pop()
            if not isinstance(schema, dict) or id(schema) in found:
                continue
            found[id(schema)] = schema
            waiting += schema.get("allOf", [])
            waiting += schema.get("anyOf", [])
            if "$ref" in schema:
                waiting.append(self._definitions.get(schema["$ref"].removeprefix("#/$defs/")))
        return list(found.values())

    @staticmethod
    def _below(schemas: list[dict[str, Any]], step: str | int) -> list[Any]:
        """The schemas of one property or item; patterns are taken to match every name."""
        found: list[Any] = []
        for schema in schemas:
            if isinstance(step, int):
                prefix = schema.get("prefixItems", [])
                found.append(prefix[step] if step < len(prefix) else schema.get("items"))
            elif step in schema.get("properties", {}):
                found.append(schema["properties"][step])
            else:
                found += schema.get("patternProperties", {}).values()
                found.append(schema.get("additionalProperties"))
        return found
