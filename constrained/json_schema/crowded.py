"""Objects of very many optional properties: their names as patterns, a few for all that have the same schema.

The engine looks at every property that may come next, four places for each: with more than 1,250 it gives up, and masks
take a tenth of a second before. A pattern is one place, and masks take a millisecond; that no name comes twice is seen
to by `distinct`. Such properties come in any order.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from .inside import BESIDE
from .patterns import REMEMBERED, engine_pattern
from .strings import inside

MAX_OPTIONAL = 1200
"""Optional properties that the engine is given one by one."""
MAX_PATTERNS = 120  # of one object: the engine sees to it that each two are apart
MAX_NAMES = 50  # of one pattern, for the same reason: of two with a hundred it gives up
_ALONE = ("items", "additionalProperties")
_NAMED = ("properties", "patternProperties")


def uncrowded(schema: Any) -> Any:
    """The same documents, of a normalised schema; what stands beside other schemas of the same value stays."""
    if not isinstance(schema, dict) or "allOf" in schema or "$ref" in schema:
        return schema
    out = dict(schema)
    for key in _NAMED:
        if key in schema:
            out[key] = {name: uncrowded(inner) for name, inner in schema[key].items()}
    for key in _ALONE:
        if key in schema:
            out[key] = uncrowded(schema[key])
    if "anyOf" in schema and schema.keys() <= {"anyOf", "$defs"}:
        out["anyOf"] = [uncrowded(inner) for inner in schema["anyOf"]]
    return _by_patterns(out)


def _by_patterns(schema: dict[str, Any]) -> dict[str, Any]:
    required = set(schema.get("required", ()))
    properties = schema.get("properties", {})
    optional = {name: value for name, value in properties.items() if name not in required and value is not False}
    if len(optional) <= MAX_OPTIONAL or schema.get("patternProperties") or schema.keys() & (BESIDE - {"$defs"}):
        return schema
    alike: dict[str, list[str]] = {}
    for name, value in optional.items():
        alike.setdefault(json.dumps(value, sort_keys=True), []).append(name)
    ordered = map(sorted, alike.values())  # names that begin alike in one pattern: two are then apart at a glance
    groups = [tuple(names[i : i + MAX_NAMES]) for names in ordered for i in range(0, len(names), MAX_NAMES)]
    if len(groups) > MAX_PATTERNS:
        return schema
    patterns = {_pattern(group): properties[group[0]] for group in groups}
    listed = {name: value for name, value in properties.items() if name not in optional}
    return {**schema, "properties": listed, "patternProperties": patterns}


@lru_cache(maxsize=REMEMBERED)
def _pattern(names: tuple[str, ...]) -> str:
    return engine_pattern(inside(names))
