"""The spellings in which clients ask for a constraint, to one Constraint: those of SGLang, OpenAI, Anthropic, vLLM,
llama.cpp and Ollama.

Nothing is dropped: a field that is not understood is refused with its JSON path, and two constraints at once too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import GrammarError
from .constraint import (
    Choice,
    Constraint,
    Grammar,
    JsonObject,
    JsonSchema,
    Regex,
    StructuralTag,
    Xml,
)
from .field_options import INNER_OPTIONS, OPTIONS, FoundConstraint, with_option, with_options
from .field_values import bool_at, check_keys, object_at, text_at

__all__ = ["FIELD_NAMES", "OPTIONS", "FoundConstraint", "constraint_from_fields", "find_constraint", "locate"]

ANY_OBJECT = "$$ANY$$"  # SGLang's spelling of "any JSON object" in json_schema


def constraint_from_fields(fields: Mapping[str, Any]) -> Constraint | None:
    """The constraint that a request's fields ask for; None if none does. Raises GrammarError with `param`."""
    found = find_constraint(fields)
    return found.constraint if found else None


def find_constraint(fields: Mapping[str, Any]) -> FoundConstraint | None:
    """As `constraint_from_fields`, and where it stood: for errors that only compiling finds (`locate`)."""
    found: list[FoundConstraint] = []
    for name, reader in _READERS.items():
        value = fields.get(name)
        if value is not None:
            read = reader(value, name)
            if read is not None:
                found.append(read)
    if len(found) > 1:
        names = ", ".join(one.param for one in found)
        raise GrammarError(f"only one constraint at a time; found {names}", code="conflicting_constraints")
    options = {name: fields[name] for name in OPTIONS if fields.get(name) is not None}
    if not found:
        _refuse_options(options, "")
        return None
    return with_options(found[0], options, "")


def _refuse_options(options: Mapping[str, Any], head: str) -> None:
    """Where there is no constraint, nothing may be said of how to obey it."""
    for name, value in options.items():
        if value is not False:
            raise GrammarError(f"{name} says how to obey a constraint, and there is none", param=head + name)


def locate(error: GrammarError, param: str) -> GrammarError:
    """Sets the error's `param` to `param` followed by its JSON pointer, as a path; returns it for raising.

    An error that comes from the engine has the pointer in `param`; one that is placed already stays as it is.
    """
    pointer = getattr(error, "pointer", None) or error.param or ""
    if not pointer.startswith(param):
        steps = [step.replace("~1", "/").replace("~0", "~") for step in pointer.lstrip("#").split("/")[1:]]
        error.param = ".".join([param, *steps])
    return error


def response_format(value: Any, param: str = "response_format") -> FoundConstraint | None:
    """OpenAI's `response_format` (also `text.format` of its Responses API): text, json_object, json_schema, …"""
    spec = object_at(value, param)
    kind = spec.get("type")
    if isinstance(kind, str) and kind in _FORMAT_KEYS:
        check_keys(spec, _FORMAT_KEYS[kind] | INNER_OPTIONS | {"type"}, param)
    options = {name: spec[name] for name in OPTIONS if spec.get(name) is not None}
    found = _format(kind, spec, param)
    if found is None:
        _refuse_options(options, f"{param}.")
        return None
    return with_options(found, options, f"{param}.")


def _format(kind: Any, spec: Mapping[str, Any], param: str) -> FoundConstraint | None:
    if kind == "text":
        return None
    if kind == "json_object":
        schema = spec.get("schema")  # llama.cpp and others: the schema beside json_object
        if schema is None or schema is True or schema == {}:
            return FoundConstraint(JsonObject(), f"{param}.type")
        return _json_schema(schema, f"{param}.schema")
    if kind == "json_schema":
        if spec.get("json_schema") is not None:
            check_keys(spec, INNER_OPTIONS | {"type", "json_schema", "name", "description"}, param)
            path, holder = f"{param}.json_schema", object_at(spec["json_schema"], f"{param}.json_schema")
            check_keys(holder, _SCHEMA_KEYS | INNER_OPTIONS, path)
        else:
            path, holder = param, spec  # llama.cpp and the Responses API: no inner object
        if holder.get("schema") is None:
            raise GrammarError("json_schema needs a schema", param=f"{path}.schema")
        found = _json_schema(holder["schema"], f"{path}.schema", strict=bool_at(holder.get("strict"), f"{path}.strict"))
        inner = {name: holder[name] for name in OPTIONS if holder is not spec and holder.get(name) is not None}
        return with_options(found, inner, f"{path}.")
    if kind == "structural_tag":
        return _structural_tag({k: v for k, v in spec.items() if k not in OPTIONS}, param)
    if kind in ("regex", "grammar", "ebnf", "gbnf", "lark", "xml"):
        key = "pattern" if kind == "regex" and spec.get("pattern") is not None else kind
        check_keys(spec, INNER_OPTIONS | {"type", key}, param)
        return _TEXT_KINDS[kind](spec.get(key), f"{param}.{key}")
    raise GrammarError(
        f"type must be text, json_object, json_schema, structural_tag, regex, grammar or xml, found {kind!r}",
        param=f"{param}.type",
    )


def _regex(value: Any, param: str) -> FoundConstraint:
    return FoundConstraint(Regex(text_at(value, param)), param)


def _ebnf(value: Any, param: str) -> FoundConstraint:
    return FoundConstraint(Grammar(text_at(value, param), "ebnf"), param)


def _lark(value: Any, param: str) -> FoundConstraint:
    return FoundConstraint(Grammar(text_at(value, param), "lark"), param)


def _gbnf(value: Any, param: str) -> FoundConstraint:
    return FoundConstraint(Grammar(text_at(value, param), "gbnf"), param)


def _llama_grammar(value: Any, param: str) -> FoundConstraint | None:
    """llama.cpp's field, whose default is the empty text."""
    return None if value == "" else _gbnf(value, param)


def _any_grammar(value: Any, param: str) -> FoundConstraint:
    """vLLM takes Lark and EBNF in one field: Lark is what has no `::=`."""
    text = text_at(value, param)
    return FoundConstraint(Grammar(text, "ebnf" if "::=" in text else "lark"), param)


def _json_schema(value: Any, param: str, *, strict: bool = False) -> FoundConstraint:
    if value == ANY_OBJECT:
        return FoundConstraint(JsonObject(), param)
    if isinstance(value, str):
        return FoundConstraint(JsonSchema(value, strict=strict), param)
    if isinstance(value, Mapping | bool):
        try:
            return FoundConstraint(JsonSchema(json.dumps(value, ensure_ascii=False), strict=strict), param)
        except (TypeError, ValueError, RecursionError) as error:
            raise GrammarError(f"not a JSON schema: {error}", param=param) from None
    schema_of = getattr(value, "model_json_schema", None)  # a pydantic model, from a program in this process
    if callable(schema_of):
        return _json_schema(schema_of(), param, strict=strict)
    raise GrammarError("a JSON schema must be an object or its JSON text", param=param)


def _structural_tag(value: Any, param: str) -> FoundConstraint:
    if isinstance(value, Mapping):
        return FoundConstraint(StructuralTag(json.dumps(value, ensure_ascii=False)), param)
    return FoundConstraint(StructuralTag(text_at(value, param)), param)


def _xml(value: Any, param: str) -> FoundConstraint:
    """A DTD, or the JSON form of xml_spec as text or as an object."""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, Mapping) else text_at(value, param)
    return FoundConstraint(Xml(text), param)


def _choices(value: Any, param: str) -> FoundConstraint:
    if not isinstance(value, list | tuple) or not value:
        raise GrammarError("choices must be a list of strings that is not empty", param=param)
    for i, choice in enumerate(value):
        if not isinstance(choice, str):
            raise GrammarError(f"a choice must be a string, found {type(choice).__name__}", param=f"{param}.{i}")
    return FoundConstraint(Choice(tuple(dict.fromkeys(value))), param)


def _json_object(value: Any, param: str) -> FoundConstraint | None:
    return FoundConstraint(JsonObject(), param) if bool_at(value, param) else None


def _ollama_format(value: Any, param: str) -> FoundConstraint | None:
    if value == "":
        return None
    if value == "json":
        return FoundConstraint(JsonObject(), param)
    if isinstance(value, str):
        if value.lstrip().startswith("{"):
            return _json_schema(value, param)
        raise GrammarError('format must be "json", a JSON schema, {"regex": …} or {"ebnf": …}', param=param)
    if isinstance(value, bool):
        raise GrammarError('format must be "json" or a JSON schema, found a boolean', param=param)
    if isinstance(value, Mapping) and len(value) == 1:
        (kind,) = value
        if kind in _TEXT_KINDS:
            return _TEXT_KINDS[kind](value[kind], f"{param}.{kind}")
        if kind in ("choices", "choice"):
            return _choices(value[kind], f"{param}.{kind}")
    return _json_schema(value, param)


def _structured_outputs(value: Any, param: str) -> FoundConstraint | None:
    """vLLM's object: one of json, regex, choice, grammar, json_object, structural_tag, and two white-space options."""
    spec = object_at(value, param)
    known = _STRUCTURED_OUTPUTS.keys() | INNER_OPTIONS | {"whitespace_pattern", "disable_any_whitespace"}
    check_keys({k: v for k, v in spec.items() if v is not False and not k.startswith("_")}, known, param)
    found: list[FoundConstraint] = []
    for key, reader in _STRUCTURED_OUTPUTS.items():
        if spec.get(key) is not None:
            read = reader(spec[key], f"{param}.{key}")
            if read is not None:
                found.append(read)
    if len(found) > 1:
        raise GrammarError(
            f"only one constraint at a time; found {', '.join(one.param for one in found)}",
            param=param,
            code="conflicting_constraints",
        )
    if not found:
        raise GrammarError("structured_outputs holds no constraint", param=param)
    asked = with_options(found[0], {k: v for k, v in spec.items() if k in INNER_OPTIONS and v is not None}, f"{param}.")
    if spec.get("whitespace_pattern") is not None:
        path = f"{param}.whitespace_pattern"
        asked = with_option(asked, "guided_whitespace_pattern", spec["whitespace_pattern"], path)
    if bool_at(spec.get("disable_any_whitespace"), path := f"{param}.disable_any_whitespace"):
        asked = with_option(asked, "whitespace", "compact", path)
    return asked


def _output_config(value: Any, param: str) -> FoundConstraint | None:
    """Anthropic's object, of which `format` alone is a constraint."""
    spec = object_at(value, param)
    check_keys(spec, {"format", "effort", "task_budget"}, param)
    return None if spec.get("format") is None else response_format(spec["format"], f"{param}.format")


_Reader = Callable[[Any, str], FoundConstraint | None]

_TEXT_KINDS: dict[str, _Reader] = {
    "regex": _regex,
    "ebnf": _ebnf,
    "gbnf": _gbnf,
    "lark": _lark,
    "grammar": _any_grammar,
    "xml": _xml,
}

_STRUCTURED_OUTPUTS: dict[str, _Reader] = {
    "json": _json_schema,
    "regex": _regex,
    "choice": _choices,
    "grammar": _any_grammar,
    "json_object": _json_object,
    "structural_tag": _structural_tag,
}

_SCHEMA_KEYS = frozenset({"name", "description", "schema", "strict"})
_FORMAT_KEYS: dict[str, frozenset[str]] = {
    "text": frozenset(),
    "json_object": frozenset({"schema"}),
    "json_schema": _SCHEMA_KEYS | {"json_schema"},
    "structural_tag": frozenset({"format", "structures", "triggers"}),
    "regex": frozenset({"regex", "pattern"}),
    "grammar": frozenset({"grammar"}),
    "ebnf": frozenset({"ebnf"}),
    "gbnf": frozenset({"gbnf"}),
    "lark": frozenset({"lark"}),
    "xml": frozenset({"xml"}),
}
"""What each response_format holds beside its type."""

_READERS: dict[str, _Reader] = {
    "regex": _regex,
    "ebnf": _ebnf,
    "json_schema": _json_schema,
    "structural_tag": _structural_tag,
    "response_format": response_format,
    "output_format": response_format,
    "output_config": _output_config,
    "structured_outputs": _structured_outputs,
    "guided_json": _json_schema,
    "guided_json_object": _json_object,
    "guided_regex": _regex,
    "guided_choice": _choices,
    "guided_grammar": _any_grammar,
    "grammar": _llama_grammar,
    "gbnf": _gbnf,
    "lark": _lark,
    "xml": _xml,
    "choices": _choices,
    "format": _ollama_format,
}

FIELD_NAMES: frozenset[str] = frozenset(_READERS) | OPTIONS.keys()
"""Every field that `find_constraint` reads: what a route passes on, and no other code needs to know."""
