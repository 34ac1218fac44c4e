"""The spellings in which clients ask for a constraint, to one Constraint: those of SGLang, OpenAI, Anthropic, vLLM,
llama.cpp and Ollama.

Nothing is dropped: a field that is not understood is refused with its JSON path, and two constraints at once too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple, get_args

import msgspec

from ..errors import GrammarError, UnsupportedGrammar
from .constraint import (
    Choice,
    Closing,
    Constraint,
    Grammar,
    JsonObject,
    JsonSchema,
    OnUnsupported,
    Regex,
    Sequence,
    StructuralTag,
    WhiteSpace,
    Xml,
)

ANY_OBJECT = "$$ANY$$"  # SGLang's spelling of "any JSON object" in json_schema


class FoundConstraint(NamedTuple):
    """A constraint and where the client wrote it."""

    constraint: Constraint
    param: str
    """JSON path of the field, such as "response_format.json_schema.schema"."""


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
        asked = next((name for name in options if options[name] is not False), None)
        if asked is not None:
            raise GrammarError(f"{asked} says how to obey a constraint, and there is none", param=asked)
        return None
    return _with_options(found[0], options, "")


def locate(error: GrammarError, param: str) -> GrammarError:
    """Sets the error's `param` to `param` followed by its JSON pointer, as a path; returns it for raising."""
    pointer = getattr(error, "pointer", None) or ""
    steps = [step.replace("~1", "/").replace("~0", "~") for step in pointer.lstrip("#").split("/")[1:]]
    error.param = ".".join([param, *steps])
    return error


def response_format(value: Any, param: str = "response_format") -> FoundConstraint | None:
    """OpenAI's `response_format` (also `text.format` of its Responses API): text, json_object, json_schema, …"""
    spec = _object(value, param)
    kind = spec.get("type")
    if isinstance(kind, str) and kind in _FORMAT_KEYS:
        _check_keys(spec, _FORMAT_KEYS[kind] | _INNER_OPTIONS | {"type"}, param)
    options = {name: spec[name] for name in OPTIONS if spec.get(name) is not None}
    found = _format(kind, spec, param)
    return found if found is None else _with_options(found, options, f"{param}.")


def _format(kind: Any, spec: Mapping[str, Any], param: str) -> FoundConstraint | None:
    if kind == "text":
        return None
    if kind == "json_object":
        if spec.get("schema") is not None:  # llama.cpp and others: the schema beside json_object
            return _json_schema(spec["schema"], f"{param}.schema")
        return FoundConstraint(JsonObject(), f"{param}.type")
    if kind == "json_schema":
        if "json_schema" in spec:
            path, holder = f"{param}.json_schema", _object(spec["json_schema"], f"{param}.json_schema")
            _check_keys(holder, _SCHEMA_KEYS | _INNER_OPTIONS, path)
        else:
            path, holder = param, spec  # llama.cpp and the Responses API: no inner object
        if holder.get("schema") is None:
            raise GrammarError("json_schema needs a schema", param=f"{path}.schema")
        found = _json_schema(holder["schema"], f"{path}.schema", strict=_bool(holder.get("strict"), f"{path}.strict"))
        inner = {name: holder[name] for name in OPTIONS if holder is not spec and holder.get(name) is not None}
        return _with_options(found, inner, f"{path}.")
    if kind == "structural_tag":
        return _structural_tag({k: v for k, v in spec.items() if k not in OPTIONS}, param)
    if kind in ("regex", "grammar", "ebnf", "gbnf", "lark", "xml"):
        text = spec.get("pattern") if kind == "regex" and "pattern" in spec else spec.get(kind)
        key = "pattern" if kind == "regex" and "pattern" in spec else kind
        return _TEXT_KINDS[kind](text, f"{param}.{key}")
    raise GrammarError(
        f"type must be text, json_object, json_schema, structural_tag, regex, grammar or xml, found {kind!r}",
        param=f"{param}.type",
    )


def _regex(value: Any, param: str) -> FoundConstraint:
    return FoundConstraint(Regex(_text(value, param)), param)


def _ebnf(value: Any, param: str) -> FoundConstraint:
    return FoundConstraint(Grammar(_text(value, param), "ebnf"), param)


def _lark(value: Any, param: str) -> FoundConstraint:
    return FoundConstraint(Grammar(_text(value, param), "lark"), param)


def _gbnf(value: Any, param: str) -> FoundConstraint | None:
    text = _text(value, param)
    return FoundConstraint(Grammar(text, "gbnf"), param) if text else None  # llama.cpp's default is ""


def _any_grammar(value: Any, param: str) -> FoundConstraint:
    """vLLM takes Lark and EBNF in one field: Lark is what has no `::=`."""
    text = _text(value, param)
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
    return FoundConstraint(StructuralTag(_text(value, param)), param)


def _xml(value: Any, param: str) -> FoundConstraint:
    """A DTD, or the JSON form of xml_spec as text or as an object."""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, Mapping) else _text(value, param)
    return FoundConstraint(Xml(text), param)


def _choices(value: Any, param: str) -> FoundConstraint:
    if not isinstance(value, list | tuple) or not value:
        raise GrammarError("choices must be a list of strings that is not empty", param=param)
    for i, choice in enumerate(value):
        if not isinstance(choice, str):
            raise GrammarError(f"a choice must be a string, found {type(choice).__name__}", param=f"{param}.{i}")
    return FoundConstraint(Choice(tuple(dict.fromkeys(value))), param)


def _json_object(value: Any, param: str) -> FoundConstraint | None:
    return FoundConstraint(JsonObject(), param) if _bool(value, param) else None


def _ollama_format(value: Any, param: str) -> FoundConstraint | None:
    if value == "":
        return None
    if value == "json":
        return FoundConstraint(JsonObject(), param)
    if isinstance(value, str):
        if value.lstrip().startswith("{"):
            return _json_schema(value, param)
        raise GrammarError('format must be "json", a JSON schema, {"regex": …} or {"ebnf": …}', param=param)
    if isinstance(value, Mapping) and len(value) == 1:
        (kind,) = value
        if kind in _TEXT_KINDS:
            return _TEXT_KINDS[kind](value[kind], f"{param}.{kind}")
        if kind in ("choices", "choice"):
            return _choices(value[kind], f"{param}.{kind}")
    return _json_schema(value, param)


def _structured_outputs(value: Any, param: str) -> FoundConstraint | None:
    """vLLM's object: one of json, regex, choice, grammar, json_object, structural_tag, and two white-space options."""
    spec = _object(value, param)
    known = _STRUCTURED_OUTPUTS.keys() | _INNER_OPTIONS | {"whitespace_pattern", "disable_any_whitespace"}
    _check_keys({k: v for k, v in spec.items() if v is not False and not k.startswith("_")}, known, param)
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
    options = {name: spec[name] for name in OPTIONS if spec.get(name) is not None}
    if spec.get("whitespace_pattern") is not None:
        options["whitespace"] = _white_space(spec["whitespace_pattern"], f"{param}.whitespace_pattern")
    if _bool(spec.get("disable_any_whitespace"), f"{param}.disable_any_whitespace"):
        options["whitespace"] = "compact"
    return _with_options(found[0], options, f"{param}.")


def _output_config(value: Any, param: str) -> FoundConstraint | None:
    """Anthropic's object, of which `format` alone is a constraint."""
    spec = _object(value, param)
    return None if spec.get("format") is None else response_format(spec["format"], f"{param}.format")


def _white_space(pattern: Any, param: str) -> WhiteSpace:
    """The policy of ours whose every document the pattern allows."""
    try:
        allows_none, allows_one = (re.fullmatch(_text(pattern, param), white) is not None for white in ("", " "))
    except re.error as error:
        raise GrammarError(f"not a regular expression: {error}", param=param) from None
    if not allows_none:
        raise UnsupportedGrammar(
            "white space that must be there everywhere is not supported; use a pattern that may be empty",
            keyword="whitespace_pattern",
            param=param,
        )
    return "fixed" if allows_one else "compact"


def _with_options(found: FoundConstraint, options: Mapping[str, Any], head: str) -> FoundConstraint:
    """The constraint with what was said of how to obey it; `head`: the path before an option's name."""
    constraint = found.constraint
    for name, value in options.items():
        constraint = OPTIONS[name](constraint, value, head + name)
    return FoundConstraint(constraint, found.param)


def _option_white_space(constraint: Constraint, value: Any, param: str) -> Constraint:
    if value not in get_args(WhiteSpace):
        raise GrammarError(f"must be one of {', '.join(get_args(WhiteSpace))}, found {value!r}", param=param)
    if isinstance(constraint, Closing):
        return Closing(_option_white_space(constraint.constraint, value, param))  # type: ignore[arg-type]
    if not isinstance(constraint, JsonSchema | JsonObject | Xml):
        raise UnsupportedGrammar("white space is an option of JSON and XML", keyword="whitespace", param=param)
    return msgspec.structs.replace(constraint, whitespace=value)


def _option_pattern(constraint: Constraint, value: Any, param: str) -> Constraint:
    return _option_white_space(constraint, _white_space(value, param), param)


def _option_unsupported(constraint: Constraint, value: Any, param: str) -> Constraint:
    if value not in get_args(OnUnsupported):
        raise GrammarError(f"must be one of {', '.join(get_args(OnUnsupported))}, found {value!r}", param=param)
    if isinstance(constraint, Closing):
        return Closing(_option_unsupported(constraint.constraint, value, param))  # type: ignore[arg-type]
    if value == "error":
        return constraint
    if not isinstance(constraint, JsonSchema):
        raise UnsupportedGrammar(f"{value} is an option of JSON schemas", keyword="on_unsupported", param=param)
    return msgspec.structs.replace(constraint, on_unsupported=value)


def _option_close(constraint: Constraint, value: Any, param: str) -> Constraint:
    if not _bool(value, param) or isinstance(constraint, Closing):
        return constraint
    if isinstance(constraint, Sequence):
        raise UnsupportedGrammar("close is not an option of sequences", keyword="close", param=param)
    return Closing(constraint)


OPTIONS: dict[str, Callable[[Constraint, Any, str], Constraint]] = {
    "whitespace": _option_white_space,
    "guided_whitespace_pattern": _option_pattern,
    "on_unsupported": _option_unsupported,
    "close": _option_close,
}
"""How a constraint is to be obeyed: beside it, or in the object that holds it."""


def _check_keys(spec: Mapping[str, Any], known: AbstractSet[str], param: str) -> None:
    """Nothing in an object that holds a constraint is passed over."""
    for key, value in spec.items():
        if key not in known and value is not None:
            raise UnsupportedGrammar(
                f"{key} is not known here; remove it (known are {', '.join(sorted(known))})",
                keyword=key,
                param=f"{param}.{key}",
            )


def _object(value: Any, param: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise GrammarError(f"must be an object, found {type(value).__name__}", param=param)
    return value


def _text(value: Any, param: str) -> str:
    if not isinstance(value, str):
        raise GrammarError(f"must be a string, found {type(value).__name__}", param=param)
    return value


def _bool(value: Any, param: str) -> bool:
    if value is None or isinstance(value, bool):
        return bool(value)
    raise GrammarError(f"must be true or false, found {type(value).__name__}", param=param)


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

_INNER_OPTIONS = OPTIONS.keys() - {"guided_whitespace_pattern"}
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
    "grammar": _gbnf,
    "gbnf": _gbnf,
    "lark": _lark,
    "xml": _xml,
    "choices": _choices,
    "format": _ollama_format,
}

FIELD_NAMES: frozenset[str] = frozenset(_READERS) | OPTIONS.keys()
"""Every field that `find_constraint` reads: what a route passes on, and no other code needs to know."""
