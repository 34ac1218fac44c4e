"""Python types as XML: a model's fields are child elements in order, lists repeat, optional ones may be absent."""

from __future__ import annotations

import json
from typing import Any

from .dtype import json_schema_of

_SIMPLE = ("string", "integer", "number", "boolean")


def spec_of(kind: Any, root: str | None = None) -> str:
    """The document type of a DTD (a text), a dict of elements, or a pydantic model or dataclass.

    `root`: the name of a type's element; default: the type's, in lower case. TypeError for what XML cannot say.
    """
    if isinstance(kind, str):
        return kind
    if isinstance(kind, dict):
        return json.dumps(kind, ensure_ascii=False)
    schema = json_schema_of(kind)
    writer = _Writer(schema.get("$defs") or {})
    name = root or str(schema.get("title") or getattr(kind, "__name__", "document")).lower()
    key = writer.element(name, schema)
    return json.dumps({"root": key, "elements": writer.elements}, ensure_ascii=False)


class _Writer:
    def __init__(self, definitions: dict[str, Any]) -> None:
        self.definitions = definitions
        self.elements: dict[str, dict[str, Any]] = {}
        self.known: dict[str, str] = {}
        """Keys of elements, by name and schema: a type that contains itself is written once."""

    def element(self, name: str, schema: dict[str, Any]) -> str:
        """The key of an element of this name and type."""
        identity = f"{name} {json.dumps(schema, sort_keys=True)}"
        if identity in self.known:
            return self.known[identity]
        key = name if name not in self.elements else f"{name}.{len(self.elements)}"
        self.known[identity] = key
        body = self.elements[key] = {"name": name}
        schema = self.resolve(schema)
        if schema.get("type") == "object" and not schema.get("properties"):
            return key
        if "properties" in schema:
            content = [self.child(child, part, schema) for child, part in schema["properties"].items()]
            body["content"] = f"({', '.join(content)})"
        else:
            body["text"] = self.text(name, schema)
        return key

    def resolve(self, schema: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in schema:
            schema = self.definitions[schema["$ref"].removeprefix("#/$defs/")]
        return schema

    def child(self, name: str, schema: dict[str, Any], parent: dict[str, Any]) -> str:
        """A part of a content model."""
        schema, mark = self.resolve(schema), "" if name in parent.get("required", ()) else "?"
        options = schema.get("anyOf")
        if options is not None:
            present = [option for option in options if option.get("type") != "null"]
            if len(present) != 1:
                raise TypeError(f"{name}: a union of types has no form in XML")
            schema, mark = self.resolve(present[0]), "?" if len(present) < len(options) else mark
        if schema.get("type") == "array" and isinstance(schema.get("items"), dict):
            low, high = schema.get("minItems", 0), schema.get("maxItems")
            return f"{self.element(name, schema['items'])}{{{low},{'' if high is None else high}}}"
        return self.element(name, schema) + mark

    def text(self, name: str, schema: dict[str, Any]) -> Any:
        values = [schema["const"]] if "const" in schema else schema.get("enum")
        if values is not None and all(isinstance(value, str) for value in values):
            return {"enum": values}
        kind = schema.get("type")
        if kind not in _SIMPLE:
            raise TypeError(f"{name}: no XML is known for {schema}")
        if kind == "string" and "pattern" in schema:
            return {"pattern": schema["pattern"]}
        lengths = {key: schema[key] for key in ("minLength", "maxLength") if key in schema}
        return {"type": kind, **lengths}
