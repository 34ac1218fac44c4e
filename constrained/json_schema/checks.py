"""Whether a schema's keywords have the values that they may have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors import GrammarError
from ..fsm.pattern import Alt, Chars, Look, Repeat, Seq
from .complement import OtherStrings
from .inside import NAMED
from .references import escape
from .refusal import invalid, too_large

MAX_STRING = 20_000
TYPE_NAMES = frozenset(["null", "boolean", "object", "array", "number", "integer", "string"])
COUNTS = frozenset(["minLength", "maxLength", "minItems", "maxItems"])
ANNOTATIONS = frozenset(
    [
        "$schema",
        "$id",
        "id",
        "$comment",
        "$anchor",
        "$dynamicAnchor",
        "$recursiveAnchor",
        "$defs",
        "definitions",
        "$vocabulary",
        "title",
        "description",
        "default",
        "examples",
        "example",
        "deprecated",
        "readOnly",
        "writeOnly",
        "contentEncoding",
        "contentMediaType",
        "contentSchema",
        "discriminator",
        "externalDocs",
        "xml",
    ]
)
"""Keywords that say nothing about which documents are valid: not worth mentioning as ignored."""
IN_PLACE = frozenset(
    ["allOf", "anyOf", "oneOf", "not", "if", "dependentSchemas", "dependencies", "$ref", "$dynamicRef", "$recursiveRef"]
)
"""Keywords that apply other schemas to the same value."""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return _is_number(value) and value >= 0 and float(value).is_integer()


def _is_schema(value: Any) -> bool:
    return isinstance(value, dict | bool)


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_type(value: Any) -> bool:
    names = value if isinstance(value, list) else [value]
    return all(isinstance(name, str) and name in TYPE_NAMES for name in names)


def _is_schemas(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(map(_is_schema, value))


def _is_schema_map(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_schema, value.values()))


def _is_dependencies(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_schema(d) or _is_names(d) or isinstance(d, str) for d in value.values())


_Check = tuple[Callable[[Any], bool], str]
_Path = tuple[str, "_Path | None"]  # the last step, and the way there
_COUNT: _Check = (_is_count, "a whole number, at least 0")
_SCHEMA: _Check = (_is_schema, "a schema")
_SCHEMAS: _Check = (_is_schemas, "a list of schemas that is not empty")
_SCHEMA_MAP: _Check = (_is_schema_map, "an object of schemas")
_TEXT: _Check = (lambda value: isinstance(value, str), "a string")
_BOUND: _Check = (lambda value: isinstance(value, bool) or _is_number(value), "a number")

CHECKS: dict[str, _Check] = {
    "type": (_is_type, f"one of {', '.join(sorted(TYPE_NAMES))}, or a list of them"),
    "enum": (lambda value: isinstance(value, list), "a list"),
    "properties": _SCHEMA_MAP,
    "patternProperties": _SCHEMA_MAP,
    "required": (_is_names, "a list of strings"),
    "additionalProperties": _SCHEMA,
    "propertyNames": _SCHEMA,
    "items": (lambda value: _is_schema(value) or (isinstance(value, list) and all(map(_is_schema, value))), "a schema"),
    "prefixItems": _SCHEMAS,
    "additionalItems": _SCHEMA,
    "contains": _SCHEMA,
    "unevaluatedItems": _SCHEMA,
    "unevaluatedProperties": _SCHEMA,
    "uniqueItems": (lambda value: isinstance(value, bool), "true or false"),
    "pattern": (lambda value: isinstance(value, str | OtherStrings | Alt | Seq | Chars | Repeat | Look), "a string"),
    "format": _TEXT,
    "minimum": (_is_number, "a number"),
    "maximum": (_is_number, "a number"),
    "exclusiveMinimum": _BOUND,
    "exclusiveMaximum": _BOUND,
    "multipleOf": (lambda value: _is_number(value) and value > 0, "a number above 0"),
    "allOf": _SCHEMAS,
    "anyOf": _SCHEMAS,
    "oneOf": _SCHEMAS,
    "not": _SCHEMA,
    "if": _SCHEMA,
    "then": _SCHEMA,
    "else": _SCHEMA,
    "dependentRequired": (
        lambda value: isinstance(value, dict) and all(map(_is_names, value.values())),
        "lists of names",
    ),
    "dependentSchemas": _SCHEMA_MAP,
    "dependencies": (_is_dependencies, "an object of schemas or lists of names"),
    "$ref": _TEXT,
    "$dynamicRef": _TEXT,
    "$recursiveRef": _TEXT,
    "minContains": _COUNT,
    "maxContains": _COUNT,
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), _COUNT),
}


_HOLD_SCHEMAS = frozenset(key for key, check in CHECKS.items() if check in (_SCHEMA, _SCHEMAS, _SCHEMA_MAP)) | {
    "items",
    "dependencies",
}


def check_values(node: dict[str, Any], pointer: str) -> None:
    """Raises GrammarError (invalid_schema) for a keyword whose value cannot be."""
    for key, value in node.items():
        check = CHECKS.get(key)
        if check is not None and not check[0](value):
            shown = repr(value)
            raise invalid(
                f"{key} must be {check[1]}, found {shown if len(shown) < 80 else shown[:77] + '…'}",
                key,
                f"{pointer}/{key}",
            )
    for key in node.keys() & {"const", "enum"}:
        values = node[key] if key == "enum" else [node[key]]
        if any(isinstance(value, str) and len(value) > MAX_STRING for value in values):
            message = f"a string of more than {MAX_STRING} characters is not served as a constant"
            raise too_large(message, key, f"{pointer}/{key}")


def check_all(schema: Any, pointer: str, checked: set[int], *, siblings_count: bool) -> None:
    """Raises as `check_values` for the schema and all inside; what only a reference leads to is left out.

    `checked`: identities of what was checked before, added to. `siblings_count`: keywords beside `$ref` mean something.
    """
    waiting: list[tuple[Any, _Path]] = [(schema, ("", None))]
    while waiting:
        node, path = waiting.pop()
        if id(node) in checked or isinstance(node, bool):
            continue
        if not isinstance(node, dict):
            raise invalid(f"a schema is an object or a boolean, found {type(node).__name__}", "", _at(path, pointer))
        checked.add(id(node))
        try:
            check_values(node, "")
        except GrammarError:
            check_values(node, _at(path, pointer))
        if "$ref" in node and not siblings_count:
            continue
        for key in node.keys() & _HOLD_SCHEMAS:
            value = node[key]
            if isinstance(value, list):
                waiting += [(inner, (str(i), (key, path))) for i, inner in enumerate(value)]
            elif key in NAMED:
                named = value.items()
                waiting += [(inner, (n, (key, path))) for n, inner in named if isinstance(inner, dict)]
            else:
                waiting.append((value, (key, path)))


def _at(path: _Path, pointer: str) -> str:
    steps: list[str] = []
    while path[1] is not None:
        steps.append(escape(path[0]))
        path = path[1]
    return "/".join([pointer, *reversed(steps)])
