"""The metaschemas of drafts 4, 6 and 7, to which schemas of schemas refer by URI: all that is found outside of one.

Keywords stand in the order in which people write them, which is that of generated documents.
"""

from __future__ import annotations

import json
from typing import Any

Schema = dict[str, Any]

_SELF: Schema = {"$ref": "#"}
_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "number"}
_YES_OR_NO: Schema = {"type": "boolean"}
_TYPES = ["array", "boolean", "integer", "null", "number", "object", "string"]


def metaschema(uri: str) -> Schema | None:
    """The schema of all schemas of a draft, made anew; `uri` has no fragment. None: there is none of that name."""
    make = _DRAFTS.get(uri)
    found: Schema | None = None if make is None else json.loads(json.dumps(make()))  # no part of it twice
    return found


def _defined(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


def _one_of(*schemas: Schema) -> Schema:
    return {"anyOf": list(schemas)}


def _map_of(schema: Schema) -> Schema:
    return {"type": "object", "additionalProperties": schema}


def _common(count: str) -> tuple[Schema, Schema]:
    """Definitions and properties that the drafts share; `count`: what they call a whole number, at least 0."""
    definitions: Schema = {
        "schemaArray": {"type": "array", "minItems": 1, "items": _SELF},
        count: {"type": "integer", "minimum": 0},
        f"{count}Default0": {"allOf": [_defined(count), {}]},
        "simpleTypes": {"enum": _TYPES},
    }
    properties: Schema = {
        "$schema": {"type": "string", "format": "uri"},
        "title": _TEXT,
        "description": _TEXT,
        "type": _one_of(
            _defined("simpleTypes"),
            {"type": "array", "items": _defined("simpleTypes"), "minItems": 1, "uniqueItems": True},
        ),
        "format": _TEXT,
        "pattern": _TEXT,
        "maxLength": _defined(count),
        "minLength": _defined(f"{count}Default0"),
        "maximum": _NUMBER,
        "minimum": _NUMBER,
        "items": _one_of(_SELF, _defined("schemaArray")),
        "maxItems": _defined(count),
        "minItems": _defined(f"{count}Default0"),
        "uniqueItems": _YES_OR_NO,
        **{name: _map_of(_SELF) for name in ("definitions", "properties", "patternProperties")},
        "required": _defined("stringArray"),
        "maxProperties": _defined(count),
        "minProperties": _defined(f"{count}Default0"),
        "dependencies": _map_of(_one_of(_SELF, _defined("stringArray"))),
        **{name: _defined("schemaArray") for name in ("allOf", "anyOf", "oneOf")},
        "not": _SELF,
    }
    return definitions, properties


def _draft4() -> Schema:
    definitions, properties = _common("positiveInteger")
    definitions["stringArray"] = {"type": "array", "items": _TEXT, "minItems": 1, "uniqueItems": True}
    properties |= {
        "id": _TEXT,
        "default": {},
        "multipleOf": {"type": "number", "minimum": 0, "exclusiveMinimum": True},
        "exclusiveMaximum": _YES_OR_NO,
        "exclusiveMinimum": _YES_OR_NO,
        "additionalItems": _one_of(_YES_OR_NO, _SELF),
        "additionalProperties": _one_of(_YES_OR_NO, _SELF),
        "enum": {"type": "array", "minItems": 1, "uniqueItems": True},
    }
    together = {"exclusiveMaximum": ["maximum"], "exclusiveMinimum": ["minimum"]}
    return {"type": "object", "definitions": definitions, "properties": properties, "dependencies": together}


def _draft6() -> Schema:
    definitions, properties = _common("nonNegativeInteger")
    definitions["stringArray"] = {"type": "array", "items": _TEXT, "uniqueItems": True}
    properties |= {
        "$id": _TEXT,
        "$ref": _TEXT,
        "default": {},
        "examples": {"type": "array", "items": {}},
        "multipleOf": {"type": "number", "exclusiveMinimum": 0},
        "exclusiveMaximum": _NUMBER,
        "exclusiveMinimum": _NUMBER,
        "additionalItems": _SELF,
        "contains": _SELF,
        "additionalProperties": _SELF,
        "propertyNames": _SELF,
        "const": {},
        "enum": {"type": "array"},
    }
    return {"type": ["object", "boolean"], "definitions": definitions, "properties": properties}


def _draft7() -> Schema:
    found = _draft6()
    found["properties"] |= {
        "$comment": _TEXT,
        "default": True,
        "readOnly": _YES_OR_NO,
        "examples": {"type": "array", "items": True},
        "const": True,
        "enum": {"type": "array", "items": True},
        "contentMediaType": _TEXT,
        "contentEncoding": _TEXT,
        **dict.fromkeys(("if", "then", "else"), _SELF),
    }
    return found


_DRAFTS = {
    "http://json-schema.org/draft-04/schema": _draft4,
    "http://json-schema.org/draft-06/schema": _draft6,
    "http://json-schema.org/draft-07/schema": _draft7,
}
