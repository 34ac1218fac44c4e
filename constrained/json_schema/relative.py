"""What a schema refuses among the documents of another: the complement that `oneOf`, `not` and `if` ask for.

Beside a schema that already says much (its type, the properties it lists, that it is closed) far more can be written
out than by itself. Works on schemas as written. What cannot be written out is marked, and checked while a document is
written; nothing is loosened.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

from .complement import ASSERTIONS, FORMATS, MAX_DEPTH, Resolve, Schema, canonical, negate_keyword, without_known_type
from .disjoint import disjoint, kinds_of, modern
from .marks import REFUSES
from .patterns import is_found

MAX_WRITTEN_DEPTH = 3  # of properties and items; below, a mark says it
MAX_ALTERNATIVES = 24
MAX_PAIRS = 6  # of a refused oneOf's branches: two of them may hold at once
LEANS = frozenset(["additionalProperties", "additionalItems", "items", "then", "else", "minContains", "maxContains"])
"""Keywords whose meaning depends on others beside them."""
_LEAN_ON = {"if": ("then", "else"), "contains": ("minContains", "maxContains")}

_KEYWORDS = {
    "array": "items prefixItems additionalItems minItems maxItems uniqueItems contains minContains maxContains "
    "unevaluatedItems",
    "object": "properties required additionalProperties patternProperties propertyNames minProperties maxProperties "
    "unevaluatedProperties dependentRequired dependentSchemas dependencies",
    "string": "pattern format minLength maxLength",
    "number": "minimum maximum exclusiveMinimum exclusiveMaximum multipleOf",
}
SPEAKS_OF = {key: frozenset([kind]) for kind, keys in _KEYWORDS.items() for key in keys.split()}
"""The one type that a keyword can refuse documents of."""


@dataclass
class Room:
    """How much more of complements may be written out for one schema; what is beyond is marked."""

    left: int


def refused(
    schema: Any,
    context: Any,
    resolve: Resolve,
    depth: int = 0,
    *,
    room: Room | None = None,
    partly: bool = False,
    are_rivals: bool = False,
) -> list[Schema] | None:
    """Schemas that together, beside `context`, accept exactly what `context` does and `schema` does not.

    [True]: nothing satisfies both. []: whatever satisfies `context` satisfies `schema`. None: that cannot be said, as
    of a `format`, which some validators enforce. `partly`: they may accept less, but nothing of what `schema` does.
    `are_rivals`: that both may accept the same document is known already.
    """
    schema, context = modern(resolve(schema)), modern(resolve(context))
    if isinstance(schema, bool):
        return [not schema] if not schema else []
    if not isinstance(schema, dict) or (partly and depth > MAX_DEPTH):
        return None
    if not are_rivals and disjoint(schema, context, resolve):
        return [True]
    if _same(schema, context):
        return []
    if room is not None:
        room.left -= 1
    if not partly and (depth > MAX_WRITTEN_DEPTH or (room is not None and room.left < 0)):
        return None if "format" in schema else [{REFUSES: schema}]
    schema = without_known_type(schema, context, resolve)
    return _Refused(schema, context if isinstance(context, dict) else {}, resolve, depth, room, partly).all()


class _Refused:
    def __init__(
        self,
        schema: dict[str, Any],
        context: dict[str, Any],
        resolve: Resolve,
        depth: int,
        room: Room | None,
        partly: bool,
    ) -> None:
        self.schema = schema
        self.context = context
        self.resolve = resolve
        self.depth = depth
        self.room = room
        self.partly = partly

    def all(self) -> list[Schema] | None:
        found: list[Schema] = []
        kinds = kinds_of(self.context, self.resolve)
        for key, value in self.schema.items():
            if key not in ASSERTIONS or (key not in LEANS and _same(value, self.context.get(key, _MISSING))):
                continue
            if not SPEAKS_OF.get(key, kinds) & kinds:
                continue
            options = self.keyword(key, value)
            if options is not None:
                found += options
            elif self.partly:
                continue
            elif key == "format":
                return None
            else:
                found += self.marked(key, value)
        if len(found) > MAX_ALTERNATIVES and not self.partly:
            found = [*found[:MAX_ALTERNATIVES], {REFUSES: self.schema}]
        return [True] if any(option is True for option in found) else [o for o in found if o is not False]

    def marked(self, key: str, value: Any) -> list[Schema]:
        """What one keyword refuses, not written out: with the keywords on which its meaning depends."""
        schema: dict[str, Any] = {key: value}
        if key == "additionalItems" or any(key in leaning for leaning in _LEAN_ON.values()):
            return []  # with the keyword that they belong to
        if key == "additionalProperties":
            schema |= {k: dict.fromkeys(self.schema[k], True) for k in _NAMED if k in self.schema}
        elif key == "items":
            schema |= {"prefixItems": [True] * len(own)} if (own := self.schema.get("prefixItems")) else {}
        elif key in _LEAN_ON:
            schema |= {k: self.schema[k] for k in _LEAN_ON[key] if k in self.schema}
        elif key.startswith("unevaluated"):
            schema = self.schema
        kinds = SPEAKS_OF.get(key)
        return [{**({"type": sorted(kinds)} if kinds else {}), REFUSES: schema}]

    def inner(self, schema: Any, context: Any) -> list[Schema] | None:
        return refused(schema, context, self.resolve, self.depth + 1, room=self.room, partly=self.partly)

    def keyword(self, key: str, value: Any) -> list[Schema] | None:
        """What one keyword refuses of the context's documents."""
        match key:
            case "enum" | "const" if self.context.keys() & {"enum", "const"}:
                return self.other_values([value] if key == "const" else value)
            case "$ref":
                target = self.resolve({"$ref": value})
                return None if isinstance(target, dict) and "$ref" in target else self.inner(target, self.context)
            case "required":
                known = self.context.get("required", [])
                missing = [name for name in value if name not in known and not self.is_told_by_property(name)]
                return [{"type": "object", "properties": {name: False}} for name in missing]
            case "properties":
                return self.properties(value)
            case "additionalProperties":
                return self.additional(value)
            case "patternProperties":
                return self.patterned(value)
            case "items" | "prefixItems":
                return self.items(key, value)
            case "anyOf":
                return self.none_of(value)
            case "oneOf":
                return self.not_one_of(value)
            case "allOf":
                some: list[Schema] = []
                for part in value:
                    options = self.inner(part, self.context)
                    if options is None:
                        return None
                    some += options
                return some
            case "format" if value not in FORMATS:
                return []
        return negate_keyword(key, value)

    def is_demanded(self, name: str) -> bool:
        """The schema requires what the context does not."""
        return name in self.schema.get("required", []) and name not in self.context.get("required", [])

    def is_told_by_property(self, name: str) -> bool:
        """What `properties` refuses of it says already that it may be missing."""
        schema, of_context = self.schema.get("properties", {}).get(name), self.of_property(name)
        if schema is None or of_context is False or not self.is_demanded(name):
            return False
        return bool(self.inner(schema, of_context))

    def other_values(self, values: list[Any]) -> list[Schema]:
        """Those of the context's that are not among these."""
        listed = [self.context["const"]] if "const" in self.context else self.context["enum"]
        taken = set(map(canonical, values))
        others = [value for value in listed if canonical(value) not in taken]
        return [{"enum": others}] if others else []

    def none_of(self, branches: list[Any]) -> list[Schema] | None:
        every: list[Any] = []
        for branch in branches:
            options = self.inner(branch, self.context)
            if options is None:
                return None
            if not options:
                return []
            if True not in options:
                every.append(options[0] if len(options) == 1 else {"anyOf": options})
        return [{"allOf": every}] if every else [True]

    def not_one_of(self, branches: list[Any]) -> list[Schema] | None:
        """None of the branches, or two at once."""
        none = self.none_of(branches)
        pairs = [pair for pair in combinations(branches, 2) if not disjoint(*pair, self.resolve)]
        if none is None or len(pairs) > MAX_PAIRS:
            return None
        return [*none, *({"allOf": list(pair)} for pair in pairs)]

    def of_property(self, name: str) -> Any:
        """What the context says of a property."""
        properties = self.context.get("properties", {})
        if name in properties:
            return properties[name]
        return True if self.context.get("patternProperties") else self.context.get("additionalProperties", True)

    def properties(self, schemas: dict[str, Any]) -> list[Schema] | None:
        found: list[Schema] = []
        for name, schema in schemas.items():
            of_context = self.of_property(name)
            options = [] if of_context is False else self.inner(schema, of_context)
            if options and self.is_demanded(name):  # missing or wrong: one alternative, which does not multiply
                found.append({"type": "object", "properties": {name: _any(options)}})
            elif options is not None:
                found += [_with_property(name, option) for option in options]
            elif not self.partly:
                return None
        return found

    def listed_in_context(self) -> dict[str, Any] | None:
        """The only properties that a document of the context may have."""
        is_closed = self.context.get("additionalProperties") is False and not self.context.get("patternProperties")
        return self.context.get("properties", {}) if is_closed else None

    def additional(self, schema: Any) -> list[Schema] | None:
        if schema is True or schema == {}:
            return []
        own, patterns = self.schema.get("properties", {}), self.schema.get("patternProperties", {})
        listed = self.listed_in_context()
        is_all = listed is not None
        if listed is None:
            if (
                _same(schema, self.context.get("additionalProperties", True))
                and _same(patterns, self.context.get("patternProperties", {}))
                and self.context.get("properties", {}).keys() <= own.keys()
            ):
                return []
            if not self.partly:
                return None
            listed = self.context.get("properties", {})
        found: list[Schema] = []
        for name, of_context in listed.items():
            if name in own or (is_all and _is_any_of(patterns, name, otherwise=self.partly)):
                continue
            options = self.inner(schema, of_context)
            if options is None:
                return None
            found += [_with_property(name, option) for option in options]
        return found

    def patterned(self, schemas: dict[str, Any]) -> list[Schema] | None:
        listed = self.listed_in_context()
        if listed is None:
            return None
        found: list[Schema] = []
        for pattern, schema in schemas.items():
            for name, of_context in listed.items():
                is_meant = is_found(pattern, name)
                options = None if is_meant is None else self.inner(schema, of_context) if is_meant else []
                if options is None:
                    return None
                found += [_with_property(name, option) for option in options]
        return found

    def items(self, key: str, value: Any) -> list[Schema] | None:
        of_context = self.context.get("items", True)
        prefix, own = self.context.get("prefixItems", []), self.schema.get("prefixItems", [])
        found: list[Schema] = []
        if key == "prefixItems":
            for i, schema in enumerate(value):
                options = self.inner(schema, prefix[i] if i < len(prefix) else of_context)
                if options is None:
                    return None
                before: list[Any] = [True] * i
                found += [{"type": "array", "prefixItems": [*before, o], "minItems": i + 1} for o in options]
            return found
        if len(prefix) > len(own):
            return None
        options = self.inner(value, of_context)
        if options is None:
            return None
        if True in options:  # each item that there is
            return [{"type": "array", "minItems": len(own) + 1}]
        return None if options else []


_NAMED = ("properties", "patternProperties")
_MISSING = object()


def _same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    return isinstance(one, type(other)) and one == other and canonical(one) == canonical(other)  # True is 1 to Python


def _any(options: list[Schema]) -> Schema:
    return True if True in options else options[0] if len(options) == 1 else {"anyOf": options}


def _with_property(name: str, option: Schema) -> Schema:
    if option is False:
        return False
    return {"type": "object", "properties": {name: option}, "required": [name]}


def _is_any_of(patterns: dict[str, Any], name: str, *, otherwise: bool) -> bool:
    """Whether a name matches one of the patterns; what cannot be said is `otherwise`."""
    found = [is_found(pattern, name) for pattern in patterns]
    return any(is_in or (is_in is None and otherwise) for is_in in found)
