# ruff: noqa: E501
"""Writes schemas.json: schemas of the kinds that people send, each with documents that fit it and that do not.

python tests/constrained/data/make_schemas.py

All names and shapes are our own, drawn with a fixed seed; every document is judged by `jsonschema` before it is kept.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema

DRAFT_4, DRAFT_7 = "http://json-schema.org/draft-04/schema#", "http://json-schema.org/draft-07/schema#"
DRAFT_2020 = "https://json-schema.org/draft/2020-12/schema"
WORDS = [
    "name",
    "title",
    "owner",
    "region",
    "status",
    "channel",
    "version",
    "label",
    "notes",
    "source",
    "target",
    "group",
    "level",
    "mode",
    "city",
]
NOUNS = [
    "order",
    "invoice",
    "ticket",
    "device",
    "sensor",
    "user",
    "project",
    "release",
    "pipeline",
    "article",
    "booking",
    "recipe",
    "route",
    "asset",
]
Json = Any


def text(rng: random.Random) -> Json:
    return rng.choice(
        [
            {"type": "string"},
            {"type": "string", "minLength": 1, "maxLength": rng.choice([10, 40, 255])},
            {
                "type": "string",
                "pattern": rng.choice(["^[a-z][a-z0-9-]*$", "^[A-Z]{2,4}-[0-9]+$", "^v?\\d+\\.\\d+\\.\\d+$"]),
            },
            {"type": "string", "enum": rng.sample(["low", "normal", "high", "urgent", "none"], 3)},
            {"type": "string", "format": rng.choice(["date", "date-time", "email", "uri", "uuid", "ipv4"])},
            {"type": ["string", "null"], "description": "may be unknown"},
        ]
    )


def number(rng: random.Random) -> Json:
    return rng.choice(
        [
            {"type": "integer"},
            {"type": "integer", "minimum": 0},
            {"type": "integer", "minimum": 1, "maximum": rng.choice([5, 100, 65535])},
            {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
            {"type": "number", "multipleOf": 0.5},
            {"type": "integer", "enum": [80, 443, 8080]},
        ]
    )


def leaf(rng: random.Random) -> Json:
    return rng.choice([text, text, number, lambda _: {"type": "boolean", "default": False}])(rng)


def record(rng: random.Random, count: int, *, closed: bool | None = None) -> Json:
    names = rng.sample(WORDS, count)
    schema: Json = {"type": "object", "properties": {name: leaf(rng) for name in names}}
    schema["required"] = sorted(rng.sample(names, rng.randint(1, count)))
    if rng.random() < 0.6 if closed is None else closed:
        schema["additionalProperties"] = False
    return schema


def listed(rng: random.Random, items: Json) -> Json:
    return {
        "type": "array",
        "items": items,
        **rng.choice([{}, {"minItems": 1}, {"maxItems": 4}, {"minItems": 1, "maxItems": 3}]),
    }


def tool(rng: random.Random) -> Json:
    """The parameters of a function."""
    schema = record(rng, rng.randint(2, 5), closed=True)
    for name in schema["properties"]:
        schema["properties"][name]["description"] = f"The {name} of the {rng.choice(NOUNS)}."
    return schema


def config(rng: random.Random) -> Json:
    """A tool's settings: sections, maps, switches."""
    return {
        "$schema": DRAFT_7, "title": f"{rng.choice(NOUNS)} settings", "type": "object",
        "properties": {
            "extends": {"anyOf": [{"type": "string"}, listed(rng, {"type": "string"})]},
            "rules": {"type": "object", "additionalProperties": {"enum": ["off", "warn", "error"]}},
            "env": {"type": "object", "patternProperties": {"^[A-Z_]+$": {"type": ["string", "number", "boolean"]}},
                    "additionalProperties": False},
            "ignore": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
            rng.choice(WORDS): record(rng, 3),
        },
        "required": ["rules"],
    }  # fmt: skip


def manifest(rng: random.Random) -> Json:
    """Like package.json."""
    return {
        "$schema": DRAFT_7, "type": "object",
        "definitions": {"versions": {"type": "object", "additionalProperties": {"type": "string"}}},
        "properties": {
            "name": {"type": "string", "pattern": "^[a-z][a-z0-9._-]*$", "maxLength": 214},
            "version": {"type": "string"}, "private": {"type": "boolean"},
            "dependencies": {"$ref": "#/definitions/versions"}, "devDependencies": {"$ref": "#/definitions/versions"},
            "bin": {"type": ["string", "object"], "additionalProperties": {"type": "string"}},
            "keywords": {"type": "array", "items": {"type": "string"}, "maxItems": rng.randint(2, 5)},
            "engines": {"type": "object", "properties": {"node": {"type": "string"}}},
        },
        "required": ["name", "version"], "dependencies": {"private": ["name"]},
    }  # fmt: skip


def workload(rng: random.Random) -> Json:
    """Like a cluster's objects."""
    return {
        "type": "object", "required": ["apiVersion", "kind", "metadata"],
        "properties": {
            "apiVersion": {"const": f"{rng.choice(NOUNS)}/v1"}, "kind": {"type": "string", "enum": ["Job", "Service"]},
            "metadata": {"type": "object", "required": ["name"], "properties": {
                "name": {"type": "string", "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"},
                "labels": {"type": ["object", "null"], "additionalProperties": {"type": ["string", "null"]}}}},
            "spec": {"type": "object", "properties": {
                "replicas": {"type": ["integer", "null"], "format": "int32"},
                "ports": listed(rng, {"type": "object", "required": ["port"], "additionalProperties": False,
                                      "properties": {"port": {"type": "integer", "minimum": 1, "maximum": 65535},
                                                     "protocol": {"enum": ["TCP", "UDP"]}}}),
                "limit": {"oneOf": [{"type": "string"}, {"type": "number"}]}}},
        },
    }  # fmt: skip


def component(rng: random.Random) -> Json:
    """Like the schemas of an API description: one inherits from another."""
    base, own = record(rng, 2, closed=False), record(rng, 3, closed=False)
    return {
        "$defs": {"Base": base, "Link": {"type": "object", "required": ["href"], "additionalProperties": False,
                                         "properties": {"href": {"type": "string", "format": "uri"}}}},
        "allOf": [{"$ref": "#/$defs/Base"}, own],
        "properties": {"links": listed(rng, {"$ref": "#/$defs/Link"})},
    }  # fmt: skip


def event(rng: random.Random) -> Json:
    """Kinds told apart by a constant."""
    kinds = rng.sample(NOUNS, rng.randint(2, 5))
    branches = []
    for kind in kinds:
        branch = record(rng, 2)
        branch["properties"] = {"kind": {"const": kind}, **branch["properties"]}
        branch["required"] = ["kind", *branch["required"]]
        branches.append(branch)
    return {rng.choice(["oneOf", "anyOf"]): branches}


def resource(rng: random.Random) -> Json:
    """Like a health record: codings, references, one value of several types."""
    values = {
        "valueString": {"type": "string"},
        "valueInteger": {"type": "integer"},
        "valueBoolean": {"type": "boolean"},
    }
    return {
        "$schema": DRAFT_7, "type": "object",
        "definitions": {"coding": {"type": "object", "properties": {
            "system": {"type": "string", "format": "uri"}, "code": {"type": "string", "pattern": "^[^\\s]+$"},
            "display": {"type": "string"}}, "required": ["code"], "additionalProperties": False}},
        "properties": {
            "resourceType": {"const": rng.choice(NOUNS).capitalize()}, "id": {"type": "string", "pattern": "^[A-Za-z0-9.-]{1,64}$"},
            "status": {"enum": ["registered", "final", "amended"]}, "code": listed(rng, {"$ref": "#/definitions/coding"}), **values},
        "required": ["resourceType", "status"],
        "oneOf": [{"required": [name]} for name in values], "additionalProperties": False,
    }  # fmt: skip


def tree(rng: random.Random) -> Json:
    """What contains its own kind."""
    return {
        "$ref": "#/$defs/node",
        "$defs": {"node": {"type": "object", "properties": {
            "name": text(rng), "children": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 3}},
            "required": ["name"], "additionalProperties": False}},
    }  # fmt: skip


def form(rng: random.Random) -> Json:
    """Fields that depend on others."""
    first, second, third = rng.sample(WORDS, 3)
    condition = {"properties": {first: {"const": "card"}}, "required": [first]}
    return {
        "type": "object", "required": [first],
        "properties": {first: {"enum": ["card", "cash", "other"]}, second: {"type": "string", "minLength": 2}, third: number(rng)},
        "if": condition, "then": {"required": [second]},
        **rng.choice([{}, {"else": {"properties": {second: False}}}]),
        **rng.choice([{}, {"dependentRequired": {third: [second]}}, {"minProperties": 1}]),
        "additionalProperties": False,
    }  # fmt: skip


def table(rng: random.Random) -> Json:
    """Rows of fixed columns."""
    columns = [leaf(rng) for _ in range(rng.randint(2, 4))]
    row = {"type": "array", "prefixItems": columns, "items": False, "minItems": len(columns)}
    return {"$schema": DRAFT_2020, "type": "object", "properties": {"rows": listed(rng, row), "total": {"type": "integer", "minimum": 0}},
            "required": ["rows"], "additionalProperties": False}  # fmt: skip


def shape(rng: random.Random) -> Json:
    """Coordinates, in an old draft."""
    point = {
        "type": "array",
        "items": [{"type": "number"}, {"type": "number"}],
        "additionalItems": False,
        "minItems": 2,
    }
    return {
        "$schema": DRAFT_4, "type": "object", "required": ["type", "coordinates"],
        "properties": {"type": {"enum": ["Point"]}, "coordinates": point,
                       "width": {"type": "number", "minimum": 0, "exclusiveMinimum": rng.random() < 0.5}},
        "not": {"required": ["radius"]},
    }  # fmt: skip


def dictionary(rng: random.Random) -> Json:
    """Names by pattern."""
    return {"type": "object", "propertyNames": {"pattern": "^[a-z]{1,8}$"}, "additionalProperties": record(rng, 2),
            **rng.choice([{}, {"minProperties": 1}, {"maxProperties": 3}])}  # fmt: skip


KINDS: list[Callable[[random.Random], Json]] = [
    tool, config, manifest, workload, component, event, resource, tree, form, table, shape, dictionary,
]  # fmt: skip
PATTERNED = {
    "^[a-z][a-z0-9-]*$": "ab-1", "^[A-Z]{2,4}-[0-9]+$": "AB-12", "^v?\\d+\\.\\d+\\.\\d+$": "v1.2.3",
    "^[a-z][a-z0-9._-]*$": "pkg.a", "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$": "web-1", "^[^\\s]+$": "C12",
    "^[A-Za-z0-9.-]{1,64}$": "id.7", "^[a-z]{1,8}$": "key",
}  # fmt: skip
FORMATTED = {
    "date": "2024-02-29", "date-time": "2024-02-29T12:00:00Z", "email": "ada@example.org", "uri": "https://example.org/a",
    "uuid": "123e4567-e89b-12d3-a456-426614174000", "ipv4": "192.0.2.7", "int32": 3,
}  # fmt: skip


def document(rng: random.Random, schema: Json, root: Json, depth: int = 0) -> Json:
    """Something that likely fits; the validator decides."""
    if schema is True or schema == {}:
        return rng.choice([1, "x", None])
    if "$ref" in schema:
        target = root
        for step in schema["$ref"].split("/")[1:]:
            target = target[step]
        return document(
            rng, {**target, **{k: v for k, v in schema.items() if k not in ("$ref", "$defs")}}, root, depth + 1
        )
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return rng.choice(schema["enum"])
    for key in ("oneOf", "anyOf"):
        if key in schema and "properties" not in schema:
            return document(rng, rng.choice(schema[key]), root, depth)
    kind = schema.get("type", "object")
    kind = rng.choice(kind) if isinstance(kind, list) else kind
    if kind == "object":
        parts = [schema, *schema.get("allOf", [])]
        found: Json = {}
        for part in parts:
            if "$ref" in part and part is not schema:
                found.update(document(rng, part, root, depth))
                continue
            for name, inner in part.get("properties", {}).items():
                if inner is not False and (name in part.get("required", []) or (rng.random() < 0.5 and depth < 4)):
                    found[name] = document(rng, inner, root, depth + 1)
        for choice in [rng.choice(schema["oneOf"])] if "oneOf" in schema else []:
            for name in choice.get("required", []):
                found[name] = document(rng, schema["properties"][name], root, depth + 1)
        extra = schema.get("additionalProperties")
        if isinstance(extra, dict) and not schema.get("properties"):
            found = {
                name: document(rng, extra, root, depth + 1)
                for name in rng.sample(["alpha", "beta", "gamma"], rng.randint(1, 2))
            }
        for pattern, inner in schema.get("patternProperties", {}).items():
            found["HOME" if "A-Z" in pattern else "x"] = document(rng, inner, root, depth + 1)
        return found
    if kind == "array":
        fixed = schema.get("prefixItems", schema["items"] if isinstance(schema.get("items"), list) else [])
        if fixed:
            return [document(rng, inner, root, depth + 1) for inner in fixed]
        count = rng.randint(schema.get("minItems", 0), min(schema.get("maxItems", 2), 2)) if depth < 4 else 0
        return [document(rng, schema.get("items", {}), root, depth + 1) for _ in range(count)]
    if kind == "string":
        if "pattern" in schema:
            return PATTERNED[schema["pattern"]]
        return FORMATTED.get(schema.get("format", ""), rng.choice(["Ada", "a longer text", "Zürich"]))
    if kind == "integer":
        return rng.choice([v for v in (0, 1, 3, 443) if schema.get("minimum", 0) <= v <= schema.get("maximum", 10**6)])
    return {"number": 0.5, "boolean": True}.get(kind)


def spoiled(rng: random.Random, value: Json) -> Json:
    """The document with one thing changed."""
    value = copy.deepcopy(value)
    places: list[tuple[Json, Json]] = []

    def walk(node: Json) -> None:
        for key, inner in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
            places.append((node, key))
            walk(inner)

    walk(value)
    if not places or rng.random() < 0.1:
        return rng.choice([[], "text", 5, None])
    holder, key = rng.choice(places)
    how = rng.random()
    if how < 0.3 and isinstance(holder, dict):
        del holder[key]
    elif how < 0.45 and isinstance(holder, dict):
        holder["unexpected"] = 1
    else:
        holder[key] = rng.choice([-1, 99999, "?! ?", "", True, None, {"a": 1}, [1, 1]])
    return value


def main() -> None:
    rng = random.Random(20)
    cases = []
    for kind in KINDS:
        for number_of_kind in range(14):
            valid: list[Json] = []
            while not valid:  # what contradicts itself is drawn again
                schema = kind(rng)
                validator_of = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
                validator_of.check_schema(schema)
                validator = validator_of(schema, format_checker=jsonschema.FormatChecker())
                valid = [d for d in (document(rng, schema, schema) for _ in range(30)) if validator.is_valid(d)]
            invalid = [s for s in (spoiled(rng, d) for d in valid * 6) if not validator.is_valid(s)]
            seen: dict[str, Json] = {}
            picked: dict[str, list[Json]] = {"valid": [], "invalid": []}
            for name, found in (("valid", valid), ("invalid", invalid)):
                for one in found:
                    if len(picked[name]) < 3 and (key := json.dumps(one, sort_keys=True)) not in seen:
                        seen[key] = one
                        picked[name].append(one)
            assert picked["invalid"], schema
            cases.append({"name": f"{kind.__name__} {number_of_kind}", "schema": schema, **picked})
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    Path(__file__).with_name("schemas.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
