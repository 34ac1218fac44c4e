"""Objects of very many optional properties: their names as patterns, a few for all that have the same schema.

The engine looks at every property that may come next, four places for each: with more than 1,250 it gives up, and masks
take a tenth of a second before. A pattern is one place, and masks take a millisecond; that no name comes twice is seen
to by `distinct`. Such properties come in any order.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from .inside import BESIDE, with_inner
from .patterns import REMEMBERED, engine_pattern
from .strings import inside

MAX_OPTIONAL = 1200
"""Optional properties that the engine is given one by one."""
MAX_PATTERNS = 160  # of one object: the engine sees to it that each two are apart
MAX_CHARS = 800  # of the names of one pattern: of two with a thousand it cannot tell that they are apart


def uncrowded(schema: Any) -> Any:
    """The same documents, of a normalised schema; what stands beside other schemas of the same value stays."""
    if not isinstance(schema, dict) or "allOf" in schema or "$ref" in schema:
        return schema
    return _by_patterns(with_inner(schema, uncrowded, ("properties", "patternProperties")))


def _by_patterns(schema: dict[str, Any]) -> dict[str, Any]:
    required = set(schema.get("required", ()))
    properties = schema.get("properties", {})
    optional = {name: value for name, value in properties.items() if name not in required and value is not False}
    if len(optional) <= MAX_OPTIONAL or schema.get("patternProperties") or schema.keys() & (BESIDE - {"$defs"}):
        return schema
    alike: dict[str, list[str]] = {}
    for name, value in optional.items():
        alike.setdefault(json.dumps(value, sort_keys=True), []).append(name)
    groups = [group for names in alike.values() for group in _grouped(sorted(names))]
    if len(groups) > MAX_PATTERNS:
        return schema
    patterns = {_pattern(group): properties[group[0]] for group in groups}
    listed = {name: value for name, value in properties.items() if name not in optional}
    return {**schema, "properties": listed, "patternProperties": patterns}


def _grouped(names: list[str]) -> Iterator[tuple[str, ...]]:
    """Those of each pattern; such as begin alike stand together, so that two patterns are apart at a glance."""
    group: list[str] = []
    num_chars = 0
    for name in names:
        if group and num_chars + len(name) > MAX_CHARS:
            yield tuple(group)
            group, num_chars = [], 0
        group.append(name)
        num_chars += len(name)
    yield tuple(group)


@lru_cache(maxsize=REMEMBERED)
def _pattern(names: tuple[str, ...]) -> str:
    return engine_pattern(inside(names))
