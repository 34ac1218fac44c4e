"""A JSON schema as the engine takes it: what it serves exactly, or a refusal that names keyword and place.

Every draft from 4 to 2020-12 becomes one form with references under `$defs`. Keywords that the engine lacks are
rewritten where that is exact (complements, alternatives, patterns taken apart); nothing is ever loosened.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from ...errors import GrammarTooLarge
from . import checks
from .combine import any_of, together
from .complement import ASSERTIONS, FORMATS, Schema, canonical
from .counts import contained, property_counts, unique_items
from .definitions import Definitions, Place
from .disjoint import beside_node
from .marks import HOLDS, REFUSES
from .names import apart, property_names, with_listed_names
from .numbers import MAX_COUNT, check_reach, holds_inexact, is_exact_bound, looser_multiple, open_bound
from .patterns import engine_pattern
from .references import escape
from .refusal import WHY, invalid, may_both_match, too_large, unsupported
from .relative import Room, refused
from .settled import settled
from .source import Source
from .string_patterns import string_patterns
from .switch import Demand, switched
from .unevaluated import UNEVALUATED, closed

MAX_NODES = 100_000
HOISTED_DEPTH = 16  # what is nested deeper moves to $defs: the engine's reader takes 128 levels of JSON
MAX_MIN_ITEMS = 4096  # items that must be there: the engine writes them out
MAX_PROPERTIES = 3000  # of one object: the engine's compile time grows with the square
MAX_WRITTEN = 400  # schemas whose complement is written out; others are marked
_KNOWN = ASSERTIONS | checks.ANNOTATIONS
_FREE_NAMES = ("patternProperties", "additionalProperties")
OBJECT_KEYWORDS = ("properties", "patternProperties", "additionalProperties", "minProperties", "maxProperties")


class NormalisedSchema(NamedTuple):
    """A schema that the engine takes as it is."""

    schema: dict[str, Any] | bool
    ignored: tuple[str, ...]
    """JSON pointers of what is an annotation here, such as an unknown `format`."""


def normalise(
    schema: str | Source, *, strict: bool = False, may_narrow: bool = False, max_written: int = MAX_WRITTEN
) -> NormalisedSchema:
    """The schema in the engine's terms. Raises a GrammarError with pointer and keyword where that cannot be exact.

    `may_narrow`: some documents may be refused that the schema accepts, where that lets it be served. `max_written`:
    how many complements are written out; the others are marked, which leaves the engine less to do and a judge more.
    A Source is not read again.
    """
    source = Source(schema) if isinstance(schema, str) else schema
    return _Normaliser(source, strict, may_narrow, Room(max_written)).run()


class _Normaliser:
    def __init__(self, source: Source, strict: bool, may_narrow: bool, room: Room) -> None:
        self.source = source
        self.strict = strict
        self.may_narrow = may_narrow
        self.room = room
        self.ignored: list[str] = []
        self.definitions = Definitions(source)
        self.num_nodes = 0

    def run(self) -> NormalisedSchema:
        self.source.check(self.source.document, "#")
        try:
            root = self.schema(self.source.document, Place("#", "", 0, True))
            definitions: dict[str, Any] = {}
            for name, node, place in self.definitions:
                definitions[name] = self.schema(node, place)
        except RecursionError:
            raise GrammarTooLarge("the schema is nested too deeply") from None
        root, definitions = settled(root, definitions, self.definitions.origins)
        root = {} if root is True else root
        if definitions and isinstance(root, dict):
            root = {**root, "$defs": definitions}
        return NormalisedSchema(root, tuple(dict.fromkeys(self.ignored)))

    def schema(self, node: Any, place: Place) -> Schema:
        """`node` in the engine's terms."""
        self.num_nodes += 1
        if self.num_nodes > MAX_NODES:
            raise too_large(f"the schema has more than {MAX_NODES} parts once written out", None, place.pointer)
        if isinstance(node, bool):
            return node
        if not isinstance(node, dict):
            raise invalid(f"a schema is an object or a boolean, found {type(node).__name__}", "", place.pointer)
        if place.depth >= HOISTED_DEPTH:
            return self.definitions.hoisted(node, place)
        if place.depth and (twin := self.definitions.twin(node, place)) is not None:
            return twin
        base = self.source.references.base_at(node, place.base)
        place = place if base == place.base else place._replace(base=base)
        for key in node:
            if key not in _KNOWN and not key.startswith("x-"):
                self.ignored.append(f"{place.pointer}/{escape(key)}")
        if "$ref" in node and not self.source.siblings_count:
            return self.definitions.reference("$ref", node["$ref"], place)
        for key, besides in UNEVALUATED.items():
            if node.get(key, True) is not True and node.keys() & besides:
                node = self.without_unevaluated(key, node, place)
        if "propertyNames" in node:
            node = property_names(node, place.pointer, self.source.resolve)
        if node.get("patternProperties"):
            node = with_listed_names(node)
        out: dict[str, Any] = {}
        beside: list[Any] = []  # what must hold too
        for key, value in node.items():
            if key in ASSERTIONS:
                self.keyword(key, value, node, out, beside, place)
            elif key == REFUSES:
                out[REFUSES] = {"schema": self.definitions.refusal(value, place), "pointer": place.pointer}
        self.objects(node, out, beside, place)
        self.arrays(node, out, beside, place)
        if "anyOf" in out and "patternProperties" in out:
            # The engine reads it keyword by keyword: behind the alternatives, it knows no more what was said of names.
            out = {**{key: out.pop(key) for key in _FREE_NAMES if key in out}, **out}
        return together(out, [s for s in beside if s is not True])

    def keyword(
        self, key: str, value: Any, node: dict[str, Any], out: dict[str, Any], beside: list[Any], place: Place
    ) -> None:
        """Adds one keyword to `out` or to what must hold beside it; what depends on others is added later."""
        match key:
            case "$ref" | "$dynamicRef" | "$recursiveRef":
                beside.append(self.definitions.reference(key, value, place))
            case "type" | "enum" if value == []:
                out |= {key: [], WHY: [f"an empty {key} allows nothing", key, f"{place.pointer}/{key}"]}
            case "type":
                out["type"] = value
            case "const" | "enum" if holds_inexact(value):
                message = f"a number in {key} is beyond what is served: 15 digits, 2^53, and round ones below 10^18"
                raise unsupported(f"{message}; write it as a string", key, f"{place.pointer}/{key}")
            case "const":
                out["const"] = _canonical_value(value)
            case "enum":
                out["enum"] = list({canonical(v): _canonical_value(v) for v in value}.values())
            case "minimum" | "maximum" if node.get(f"exclusive{key.capitalize()}") is True:  # draft 4
                self.keyword(f"exclusive{key.capitalize()}", value, node, out, beside, place)
            case "exclusiveMinimum" | "exclusiveMaximum":
                if not isinstance(value, bool):
                    self.bound(key, open_bound(key, value) if self.source.has_fractions else value, out, beside, place)
            case "minimum" | "maximum":
                self.bound(key, value, out, beside, place)
            case "multipleOf":
                out["multipleOf"] = looser_multiple(value, f"{place.pointer}/multipleOf")
                if out["multipleOf"] != value:
                    beside.append({HOLDS: {"schema": {key: value}, "pointer": f"{place.pointer}/multipleOf"}})
            case "minItems" if value > MAX_MIN_ITEMS:
                message = f"minItems of {value:.0f}; at most {MAX_MIN_ITEMS} are served"
                raise too_large(message, "minItems", f"{place.pointer}/minItems")
            case _ if key in checks.COUNTS:
                if value <= MAX_COUNT:
                    out[key] = int(value)
                elif key.startswith("min"):
                    raise too_large(f"{key} of {value}; at most {MAX_COUNT} are served", key, f"{place.pointer}/{key}")
            case "required":
                out[key] = value
            case "pattern":
                first, *others = string_patterns(value, f"{place.pointer}/pattern")
                out["pattern"] = first
                beside += [{"pattern": other} for other in others]
            case "format":
                if value in FORMATS:
                    out["format"] = value
                elif self.strict:
                    raise unsupported(
                        f"format {value!r} cannot be enforced; remove it", "format", f"{place.pointer}/format"
                    )
                else:
                    self.ignored.append(f"{place.pointer}/format")
            case "properties":
                if len(value) > MAX_PROPERTIES:
                    message = f"{len(value)} properties; at most {MAX_PROPERTIES} are served"
                    raise too_large(message, "properties", f"{place.pointer}/properties")
                out["properties"] = {n: self.schema(s, place.down(key, n)) for n, s in value.items()}
            case "additionalProperties":
                out["additionalProperties"] = self.schema(value, place.down(key))
            case "patternProperties":
                out["patternProperties"] = {
                    p: self.schema(s, place.down(key)) for p, s in _apart(value, place.pointer).items()
                }
            case "allOf":
                parts, switches = switched(value)
                beside += [self.schema(s, place.down(key, str(i), is_closable=False)) for i, s in parts.items()]
                for cases in switches:
                    any_of([self.case(demands, place.down(key)) for demands in cases], out, beside)
            case "anyOf":
                closable = place.is_closable and not any(k in node for k in OBJECT_KEYWORDS)
                options = [self.schema(s, place.down(key, str(i), is_closable=closable)) for i, s in enumerate(value)]
                any_of(options, out, beside)
            case "oneOf":
                self.one_of(value, node, out, beside, place)
            case "not":
                any_of(self.complement(value, "not", node, place), out, beside)
            case "if":
                self.condition(node, out, beside, place)
            case "dependentRequired" | "dependentSchemas" | "dependencies":
                for name, demand in value.items():
                    self.dependency(name, demand, beside, place.down(key, name, is_closable=False))

    @staticmethod
    def bound(key: str, value: float, out: dict[str, Any], beside: list[Any], place: Place) -> None:
        """A bound of numbers; one that the engine would round is left to a judge."""
        out[key] = value
        if not is_exact_bound(key, value):
            check_reach(key, value, f"{place.pointer}/{key}")
            beside.append({HOLDS: {"schema": {key: value}, "pointer": f"{place.pointer}/{key}"}})

    def case(self, demands: list[Demand], place: Place) -> Schema:
        """What one case of a switch demands."""
        parts = [self.schema(d.schema, place.down(*d.steps, is_closable=False)) for d in demands]
        return together({}, [part for part in parts if part is not True])

    def without_unevaluated(self, key: str, node: dict[str, Any], place: Place) -> dict[str, Any]:
        """The node closed by other keywords where all that is evaluated is plain to see."""
        where = f"{place.pointer}/{key}"
        target = self.source.target
        found = closed(node, key, lambda name: target(name, place.base, where).node, may_narrow=self.may_narrow)
        if found is None:
            instead = "additionalProperties" if key == "unevaluatedProperties" else "items"
            raise unsupported(f"{key} depends on which alternatives hold; use {instead}", key, where)
        return found

    def complement(self, value: Any, key: str, node: dict[str, Any], place: Place) -> list[Schema]:
        """What `value` refuses beside the type that `node` has, normalised."""
        context = {k: v for k, v in node.items() if k not in ("not", "if", "then", "else")}
        negated = refused(value, context, self.source.resolve, room=self.room)
        if negated is None:
            raise unsupported(
                f"the complement of this schema cannot be written out for {key}; say what is allowed instead",
                key,
                f"{place.pointer}/{key}",
            )
        inner = place.down(key, is_closable=False)
        return [self.schema(option, inner) for option in negated if option is not False]

    def one_of(
        self, value: list[Any], node: dict[str, Any], out: dict[str, Any], beside: list[Any], place: Place
    ) -> None:
        """Alternatives, each without what the others accept unless that is nothing."""
        closable = place.is_closable and not node.keys() & set(OBJECT_KEYWORDS)
        full = [beside_node(self.source.resolve(branch), node) for branch in value]
        rivals = self.source.rivals(value, node, full)
        if rivals is None:
            raise unsupported(
                "so many branches of oneOf must differ in a const property that all require; or use anyOf",
                "oneOf",
                f"{place.pointer}/oneOf",
            )
        options: list[Schema] = []
        for i, branch in enumerate(value):
            parts: list[Any] = [self.schema(branch, place.down("oneOf", str(i), is_closable=closable))]
            for j in rivals.get(i, ()):
                rest = refused(value[j], full[i], self.source.resolve, room=self.room, are_rivals=True)
                if self.may_narrow and (rest is None or REFUSES in canonical(rest)):
                    rest = refused(value[j], full[i], self.source.resolve, partly=True) or rest
                if rest is None:
                    raise may_both_match(i, j, place.pointer)
                inner = place.down("oneOf", str(j), is_closable=False)
                without: list[Any] = []
                others: dict[str, Any] = {}
                any_of([self.schema(option, inner) for option in rest if option is not False], others, without)
                parts.append(together(others, without))
            options.append(together({}, [p for p in parts if p is not True]))
        any_of(options, out, beside)

    def condition(self, node: dict[str, Any], out: dict[str, Any], beside: list[Any], place: Place) -> None:
        """`if` with `then` and `else`: what it accepts and `then`, or what it refuses and `else`."""
        if "then" not in node and "else" not in node:
            return
        parts = [self.schema(node.get(k, True), place.down(k, is_closable=False)) for k in ("if", "then", "else")]
        is_met, then, otherwise = parts
        options: list[Schema] = [together({}, [s for s in (is_met, then) if s is not True])]
        for negated in self.complement(node["if"], "if", node, place):
            options.append(together({}, [s for s in (negated, otherwise) if s is not True]))
        any_of(options, out, beside)

    def dependency(self, name: str, demand: Any, beside: list[Any], place: Place) -> None:
        """Without the property, or with it and what it demands."""
        if isinstance(demand, str):  # draft 3
            demand = [demand]
        if isinstance(demand, list):
            met: Schema = {"required": [name, *(other for other in demand if other != name)]}
        else:
            met = together({}, [s for s in (self.schema(demand, place), {"required": [name]}) if s is not True])
        beside.append({"anyOf": [{"properties": {name: False}}, met]})

    def objects(self, node: dict[str, Any], out: dict[str, Any], beside: list[Any], place: Place) -> None:
        """Keywords that depend on the other ones about objects."""
        if "unevaluatedProperties" in node and "additionalProperties" not in node:
            where = place.down("unevaluatedProperties")
            out["additionalProperties"] = self.schema(node["unevaluatedProperties"], where)
        is_object = "properties" in node or node.get("type") == "object"
        if self.strict and place.is_closable and is_object and not set(node) & checks.IN_PLACE:
            out.setdefault("additionalProperties", False)
        if "minProperties" in node or "maxProperties" in node:
            beside += property_counts(node, out, place.pointer)

    def arrays(self, node: dict[str, Any], out: dict[str, Any], beside: list[Any], place: Place) -> None:
        """Keywords that depend on the other ones about arrays."""
        items = node.get("items")
        prefix = items if isinstance(items, list) else node.get("prefixItems")
        rest = node.get("additionalItems", True) if isinstance(items, list) else items
        key = "items" if isinstance(items, list) else "prefixItems"
        if prefix:
            out["prefixItems"] = [self.schema(s, place.down(key, str(i))) for i, s in enumerate(prefix)]
        if rest is not None and rest is not True:
            key = "additionalItems" if isinstance(items, list) else "items"
            out["items"] = self.schema(rest, place.down(key))
        is_rest = "additionalItems" in node if isinstance(items, list) else items is not None
        if "unevaluatedItems" in node and not is_rest:
            out["items"] = self.schema(node["unevaluatedItems"], place.down("unevaluatedItems"))
        if "contains" in node:
            schema = self.schema(node["contains"], place.down("contains"))
            contained(node, out, schema, place.pointer, knows_bounds=self.source.siblings_count)
        if node.get("uniqueItems"):
            beside += unique_items(node, out, place.pointer)


def _apart(patterns: dict[Any, Any], pointer: str) -> dict[str, Any]:
    if all(isinstance(pattern, str) for pattern in patterns):
        return apart(patterns, pointer)
    return {engine_pattern(tree): schema for tree, schema in patterns.items()}  # from propertyNames: apart already


def _canonical_value(value: Any) -> Any:
    return json.loads(canonical(value)) if isinstance(value, float) else value
