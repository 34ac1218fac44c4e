# ruff: noqa: E501
"""Writes published.json: schemas as projects publish them, each with documents that fit it and that do not.

python tests/constrained/data/make_published.py

Cluster resources, self-describing events, signatures of functions, settings of tools, content with references to itself:
the shapes are those of public collections, every line is our own. Each document is judged by `jsonschema` before it is
kept.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import jsonschema
from make_schemas import DRAFT_4, DRAFT_7, DRAFT_2020, NOUNS, WORDS, spoiled

Json = Any
Case = tuple[Json, list[Json]]
TEXT = {"type": "string"}


def resource(rng: random.Random) -> Case:
    """A custom resource of a cluster: open maps, numbers or percentages, nullable parts."""
    kind = rng.choice(NOUNS).capitalize()
    quantity = {
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "pattern": "^(\\+|-)?[0-9]+(m|Ki|Mi|Gi)?$",
        "x-int-or-string": True,
    }
    limits = {"type": "object", "additionalProperties": quantity, "minProperties": rng.choice([0, 1])}
    condition = {
        "type": "object",
        "required": ["type", "status", "lastTransitionTime"],
        "properties": {
            "type": {**TEXT, "maxLength": 316, "pattern": "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Z][A-Za-z0-9]*$"},
            "status": {"enum": ["True", "False", "Unknown"], **TEXT},
            "lastTransitionTime": {**TEXT, "format": "date-time"},
            "message": {**TEXT, "maxLength": 32768},
            "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
        },
    }
    container = {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": TEXT,
            "image": TEXT,
            "args": {"type": "array", "items": TEXT},
            "resources": {"type": "object", "properties": {"limits": limits, "requests": limits}},
            "ports": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["containerPort"],
                    "properties": {
                        "containerPort": {"type": "integer", "format": "int32"},
                        "protocol": {**TEXT, "default": "TCP"},
                    },
                },
            },
        },
    }
    schema = {
        "description": f"{kind} is the schema of its API", "type": "object",
        "properties": {"apiVersion": TEXT, "kind": {"enum": [kind]}, "metadata": {"type": "object"},
                       "spec": {"type": "object", "required": ["containers"], "properties": {
                           "containers": {"type": "array", "items": container, "minItems": 1},
                           "nodeSelector": {"type": ["object", "null"], "additionalProperties": TEXT}}},
                       "status": {"type": "object", "properties": {"conditions": {"type": "array", "items": condition, "x-list-type": "map"}}}},
        "required": ["kind", "spec"],
    }  # fmt: skip
    whole = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "a"}, "spec": {"containers": [
        {"name": "web", "image": "web:1", "resources": {"limits": {"cpu": "500m", "memory": 2}}, "ports": [{"containerPort": 80}]}]}}  # fmt: skip
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2024-02-29T12:00:00Z"}
    return schema, [whole, {"kind": kind, "spec": {"containers": [{"name": "a"}]}, "status": {"conditions": [ready]}}]


def event(rng: random.Random) -> Case:
    """A self-describing event: closed, every field bounded and nullable."""
    first, second, third = rng.sample(WORDS, 3)
    schema = {
        "$schema": "http://iglucentral.com/schemas/com.example/self-desc/jsonschema/1-0-0#", "description": f"Schema of a {rng.choice(NOUNS)}",
        "self": {"vendor": "com.example", "name": first, "format": "jsonschema", "version": "1-0-0"}, "type": "object",
        "properties": {first: {"type": ["string", "null"], "maxLength": rng.choice([255, 4096])},
                       second: {"type": ["integer", "null"], "minimum": 0, "maximum": rng.choice([65535, 2147483647])},
                       third: {"enum": ["click", "view", None]}, "ids": {"type": "array", "items": {"type": "string", "format": "uuid"}, "minItems": 1},
                       "amount": {"type": "number", "multipleOf": 0.01, "minimum": 0}},
        "required": [first, third], "additionalProperties": False, **rng.choice([{}, {"minProperties": 3}, {"dependencies": {"amount": [second]}}]),
    }  # fmt: skip
    uuid = "123e4567-e89b-12d3-a456-426614174000"
    return schema, [
        {first: "a", second: 5, third: "click", "amount": 0.5},
        {first: None, third: None, "ids": [uuid]},
        {first: "b", second: None, third: "view"},
    ]


def signature(rng: random.Random) -> Case:
    """A function's parameters: one of several ways to name a thing, ranges, lists of options."""
    ways = rng.sample(["order_id", "email", "phone", "serial"], 3)
    schema = {
        "type": "object",
        "properties": {**{way: {**TEXT, "description": f"the {way}"} for way in ways},
                       "limit": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
                       "sort": {"type": "object", "properties": {"by": {"enum": ["date", "price"]}, "descending": {"type": "boolean"}}, "required": ["by"]},
                       "range": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
                       "options": {"type": "array", "items": {"enum": ["fast", "safe", "cheap", "green"]}, "uniqueItems": True}},
        "oneOf": [{"required": [way]} for way in ways],
    }  # fmt: skip
    return schema, [
        {ways[0]: "17", "limit": 5},
        {ways[1]: "a", "sort": {"by": "date"}, "options": ["safe", "fast"]},
        {ways[2]: "x", "range": [0, 1.5]},
    ]


def workflow(rng: random.Random) -> Case:
    """A tool's settings: many shapes for one field, names by pattern, steps that run or use something."""
    shell = {**TEXT, "anyOf": [{}, {"enum": ["bash", "sh", "pwsh"]}]}
    step = {
        "type": "object",
        "additionalProperties": False,
        "dependencies": {"shell": ["run"], "with": ["uses"]},
        "anyOf": [{"required": ["run"]}, {"required": ["uses"]}],
        "allOf": [{"not": {"required": ["run", "uses"]}}],
        "properties": {"id": TEXT, "run": TEXT, "uses": TEXT, "shell": shell, "with": {"$ref": "#/definitions/env"}},
    }
    job = {
        "type": "object",
        "additionalProperties": False,
        "required": ["runs-on"],
        "properties": {
            "runs-on": {
                "oneOf": [
                    TEXT,
                    {"type": "array", "items": TEXT, "minItems": 1},
                    {"type": "object", "properties": {"group": TEXT}},
                ]
            },
            "needs": {
                "anyOf": [
                    {"type": "array", "items": {"$ref": "#/definitions/name"}, "minItems": 1},
                    {"$ref": "#/definitions/name"},
                ]
            },
            "steps": {"type": "array", "items": step, "minItems": 1},
            "env": {"$ref": "#/definitions/env"},
        },
    }
    schema = {
        "$schema": DRAFT_7, "type": "object", "required": ["on", "jobs"], "additionalProperties": rng.choice([False, True]),
        "definitions": {"name": {**TEXT, "pattern": "^[_a-zA-Z][a-zA-Z0-9_-]*$"}, "event": {**TEXT, "enum": ["push", "release", "schedule"]},
                        "env": {"oneOf": [{"type": "object", "additionalProperties": {"oneOf": [TEXT, {"type": "number"}, {"type": "boolean"}]}},
                                          {**TEXT, "pattern": "^.*\\$\\{\\{(.|[\\r\\n])*\\}\\}.*$"}]}},
        "properties": {"name": TEXT, "on": {"oneOf": [{"$ref": "#/definitions/event"}, {"type": "array", "items": {"$ref": "#/definitions/event"}, "minItems": 1}]},
                       "jobs": {"type": "object", "patternProperties": {"^[_a-zA-Z][a-zA-Z0-9_-]*$": job}, "minProperties": 1, "additionalProperties": False}},
    }  # fmt: skip
    return schema, [{"on": "push", "jobs": {"build": {"runs-on": "a", "steps": [{"run": "make", "shell": "sh"}]}}},
                    {"name": "n", "on": ["push"], "jobs": {"t": {"runs-on": ["a", "b"], "needs": "build", "env": {"A": 1}}}}]  # fmt: skip


def content(rng: random.Random) -> Case:
    """A published story: elements of many kinds, some of which hold others; one trait shared by all."""
    trait = {
        "created": {**TEXT, "format": "date-time"},
        "owner": {"$ref": "#/definitions/owner"},
        "taxonomy": {
            "type": "object",
            "properties": {
                "keywords": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"keyword": TEXT, "score": {"type": "number"}},
                        "required": ["keyword"],
                    },
                }
            },
        },
    }
    elements = {
        "text": {"content": TEXT},
        "header": {"content": TEXT, "level": {"type": "number"}},
        "image": {"url": {**TEXT, "format": "uri"}, "caption": TEXT},
        "list": {"items": {"type": "array", "items": {"$ref": "#/definitions/element"}}},
    }
    chosen = ["list", *rng.sample(["text", "header", "image"], 2)]
    definitions: dict[str, Json] = {
        kind: {"type": "object", "additionalProperties": False, "required": ["type", *list(elements[kind])[:1]],
               "properties": {"type": {**TEXT, "enum": [kind]}, "_id": TEXT, **trait, **elements[kind]}} for kind in chosen
    }  # fmt: skip
    schema = {
        "$schema": DRAFT_4, "id": "https://example.com/story.json", "type": "object", "required": ["type", "version"],
        "definitions": {**definitions, "owner": {"type": "object", "properties": {"name": TEXT, "sponsored": {"type": "boolean"}}, "additionalProperties": False},
                        "element": {rng.choice(["anyOf", "oneOf"]): [{"$ref": f"#/definitions/{kind}"} for kind in chosen]}},
        "properties": {"type": {**TEXT, "enum": ["story"]}, "version": {**TEXT, "pattern": "^0\\.[0-9]{1,2}\\.[0-9]$"}, **trait,
                       "headlines": {"type": "object", "properties": {"basic": TEXT}, "additionalProperties": TEXT},
                       "content_elements": {"type": "array", "items": {"$ref": "#/definitions/element"}},
                       "related": {"type": "array", "items": {"$ref": "#"}}},
    }  # fmt: skip
    inner = {"type": "text", "content": "a"} if "text" in chosen else {"type": "header", "content": "a"}
    return schema, [{"type": "story", "version": "0.10.5", "headlines": {"basic": "b"}, "content_elements": [{"type": "list", "items": [inner]}]},
                    {"type": "story", "version": "0.5.8", "owner": {"name": "o"}, "related": [{"type": "story", "version": "0.1.0"}]}]  # fmt: skip


def rules(rng: random.Random) -> Case:
    """A linter's settings: a severity, or a severity with options; names of rules by pattern."""
    severity = {"oneOf": [{"type": "integer", "minimum": 0, "maximum": 2}, {"enum": ["off", "warn", "error"]}]}
    rule = {"oneOf": [severity, {"type": "array", "items": [severity], "additionalItems": True, "minItems": 1}]}
    options = {
        "type": "object",
        "properties": {"max": {"type": "integer"}, "allow": {"type": "array", "items": TEXT, "uniqueItems": True}},
        "additionalProperties": False,
    }
    schema = {
        "$schema": DRAFT_7, "type": "object", "definitions": {"rule": rule},
        "properties": {"root": {"type": "boolean"}, "extends": {"oneOf": [TEXT, {"type": "array", "items": TEXT}]},
                       "rules": {"type": "object", "propertyNames": {"pattern": "^(@?[a-z0-9-]+/)?[a-z0-9-]+$"}, "additionalProperties": {"$ref": "#/definitions/rule"}},
                       "overrides": {"type": "array", "contains": {"required": ["files"]}, "items": {"type": "object", "properties": {"files": TEXT, "options": options}}}},
        **rng.choice([{}, {"if": {"required": ["overrides"]}, "then": {"required": ["rules"]}}, {"not": {"required": ["root", "extends"]}}]),
    }  # fmt: skip
    return schema, [
        {"root": True, "rules": {"no-x": "off", "@a/b": [2, {"any": 1}]}},
        {"rules": {}, "overrides": [{"files": "a", "options": {"allow": ["a", "b"]}}]},
    ]


def service(rng: random.Random) -> Case:
    """A service of a compose file: where it comes from, what it needs, one or the other."""
    healthy = {
        "if": {"properties": {"restart": {"const": "on-failure"}}, "required": ["restart"]},
        "then": {"required": ["retries"]},
        "else": {"properties": {"retries": False}},
    }
    schema = {
        "$schema": DRAFT_2020, "type": "object", "unevaluatedProperties": False, "allOf": [healthy],
        "$defs": {"build": {"type": "object", "properties": {"build": {"anyOf": [TEXT, {"type": "object", "required": ["context"]}]}}, "required": ["build"]},
                  "image": {"type": "object", "properties": {"image": {**TEXT, "minLength": 1}}, "required": ["image"]}},
        "oneOf": [{"$ref": "#/$defs/build"}, {"$ref": "#/$defs/image"}],
        "properties": {"restart": {"enum": ["no", "always", "on-failure"]}, "retries": {"type": "integer", "minimum": 1},
                       "ports": {"type": "array", "items": {"type": ["number", "string"], "format": "ports"}, "uniqueItems": rng.choice([True, False])},
                       "labels": {"type": "object", "patternProperties": {"^[a-z.]+$": {"type": ["string", "number", "null"]}}, "additionalProperties": False}},
        "dependentRequired": {"ports": ["restart"]},
    }  # fmt: skip
    return schema, [
        {"image": "a", "restart": "on-failure", "retries": 3},
        {"build": {"context": "."}, "restart": "no", "ports": [80, "81"], "labels": {"a.b": None}},
    ]


def shapes(rng: random.Random) -> Case:
    """Geometry: a kind of shape decides how deep the coordinates are."""
    point = {"type": "array", "minItems": 2, "items": {"type": "number"}}
    line = {"type": "array", "minItems": 2, "items": point}
    kinds = {
        "Point": point,
        "LineString": line,
        "Polygon": {"type": "array", "items": {"type": "array", "minItems": 4, "items": point}},
    }
    shape = {"oneOf": [{"type": "object", "required": ["type", "coordinates"], "properties": {"type": {**TEXT, "enum": [name]}, "coordinates": inner,
                        "bbox": {"type": "array", "minItems": 4, "items": {"type": "number"}}}} for name, inner in kinds.items()]}  # fmt: skip
    schema = {"$schema": DRAFT_7, "type": "object", "required": ["type", "properties", "geometry"], "properties": {
        "type": {"enum": ["Feature"]}, "id": {"oneOf": [{"type": "number"}, TEXT]}, "properties": {"oneOf": [{"type": "null"}, {"type": "object"}]},
        "geometry": {"oneOf": [{"type": "null"}, shape]}}, **rng.choice([{}, {"additionalProperties": False}])}  # fmt: skip
    return schema, [{"type": "Feature", "properties": None, "geometry": {"type": "Point", "coordinates": [1, 2.5]}},
                    {"type": "Feature", "id": 7, "properties": {"a": 1}, "geometry": {"type": "LineString", "coordinates": [[0, 0], [1, 1]]}}]  # fmt: skip


def expression(rng: random.Random) -> Case:
    """A condition in a query language: operators that hold conditions, exactly one of them."""
    operators = rng.sample(["and", "or", "not"], rng.randint(2, 3))
    shape = {
        name: {"$ref": "#/definitions/condition"}
        if name == "not"
        else {"type": "array", "items": {"$ref": "#/definitions/condition"}, "minItems": 1}
        for name in operators
    }
    compare = {
        "type": "object",
        "required": ["field", "op"],
        "properties": {
            "field": TEXT,
            "op": {"enum": ["=", "<", ">"]},
            "value": {"type": ["string", "number", "boolean"]},
        },
    }
    branches = [
        {
            "type": "object",
            "required": [name],
            "properties": {name: inner},
            **rng.choice([{}, {"additionalProperties": False}]),
        }
        for name, inner in shape.items()
    ]
    schema = {"$schema": DRAFT_7, "definitions": {"condition": {"oneOf": [compare, *branches]}}, "type": "object", "required": ["where"],
              "properties": {"where": {"$ref": "#/definitions/condition"}, "select": {"type": "array", "items": TEXT, "minItems": 1, "maxItems": 300}}}  # fmt: skip
    simple = {"field": "a", "op": "=", "value": 1}
    nested = {name: simple if name == "not" else [simple, simple] for name in operators[:1]}
    return schema, [
        {"where": simple},
        {"where": nested, "select": ["a", "b"]},
        {"where": {operators[1]: nested if operators[1] == "not" else [nested]}},
    ]


def ledger(rng: random.Random) -> Case:
    """Entries with exact sums; each currency once; what a kind of entry demands."""
    entry = {"type": "object", "required": ["kind", "amount"], "additionalProperties": False, "properties": {
        "kind": {"enum": ["sale", "refund", "fee"]}, "amount": {"type": "number", "multipleOf": 0.01}, "reason": {**TEXT, "minLength": 3, "maxLength": 5000},
        "at": {**TEXT, "format": "date"}, "parts": {"type": "array", "maxItems": 500, "items": {"$ref": "#/$defs/entry"}}},
        "allOf": [{"if": {"properties": {"kind": {"const": "refund"}}}, "then": {"required": ["reason"]}},
                  {"if": {"properties": {"kind": {"const": "fee"}}}, "then": {"properties": {"amount": {"exclusiveMaximum": 0}}}}]}  # fmt: skip
    schema = {"$schema": DRAFT_2020, "$defs": {"entry": entry}, "type": "object", "required": ["entries", "currencies"], "additionalProperties": False, "properties": {
        "entries": {"type": "array", "items": {"$ref": "#/$defs/entry"}, "minItems": 1, "contains": {"properties": {"kind": {"const": "sale"}}}, "maxContains": rng.choice([2, 5])},
        "currencies": {"type": "array", "items": {**TEXT, "pattern": "^[A-Z]{3}$"}, "uniqueItems": True, "minItems": 1, "maxItems": 10}}}  # fmt: skip
    return schema, [{"entries": [{"kind": "sale", "amount": 3.5}, {"kind": "refund", "amount": 1, "reason": "late"}], "currencies": ["EUR", "USD"]},
                    {"entries": [{"kind": "sale", "amount": 2, "parts": [{"kind": "fee", "amount": -1}]}], "currencies": ["JPY"]}]  # fmt: skip


KINDS = [resource, event, signature, workflow, content, rules, service, shapes, expression, ledger]


def main() -> None:
    rng = random.Random(21)
    cases = []
    for kind in KINDS:
        for number in range(6):
            schema, drawn = kind(rng)
            validator_of = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
            validator = validator_of(schema, format_checker=jsonschema.FormatChecker())
            valid = [one for one in drawn if validator.is_valid(one)]
            assert valid, (kind, number)
            seen = {
                json.dumps(one): one for one in (spoiled(rng, one) for one in valid * 12) if not validator.is_valid(one)
            }
            assert len(seen) > 3, schema
            cases.append(
                {
                    "name": f"{kind.__name__} {number}",
                    "schema": schema,
                    "valid": valid,
                    "invalid": list(seen.values())[:6],
                }
            )
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    Path(__file__).with_name("published.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
