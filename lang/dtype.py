"""What a gen's dtype means: a regex, a JSON schema, and a Python value."""

from __future__ import annotations

import dataclasses
import enum
import json
import types
import typing
import warnings
from typing import Any, Literal, Union, get_args, get_origin

from ..errors import ProgramError
from .closed_schema import closed_text
from .ir import REGEX_BOOL, REGEX_FLOAT, REGEX_INT, REGEX_STR
from .sampling import SglSamplingParams

_NUMBER_STOPS = (" ", "\n")
_SIMPLE: dict[Any, tuple[str, tuple[str, ...]]] = {
    int: (REGEX_INT, _NUMBER_STOPS),
    float: (REGEX_FLOAT, _NUMBER_STOPS),
    bool: (REGEX_BOOL, ()),
    str: (REGEX_STR, ()),
}
_NAMES: dict[str, type] = {"int": int, "float": float, "bool": bool, "str": str, "string": str}
_JSON_TYPES: dict[Any, str] = {int: "integer", float: "number", bool: "boolean", str: "string", type(None): "null"}


def apply_dtype(params: SglSamplingParams, *, native: bool) -> SglSamplingParams:
    """`params` with dtype turned into a constraint; backends of SGLang's kind get the four simple types as they are."""
    if params.dtype is None:
        return params
    kind = _NAMES.get(params.dtype, params.dtype) if isinstance(params.dtype, str) else params.dtype
    if kind in (int, float, bool, str):
        if native:
            if params.regex is not None:
                warnings.warn(f"both dtype and regex are set; dtype={kind.__name__} is used", stacklevel=2)
            pattern, stops = _SIMPLE[kind]
            params.regex = pattern
            params.stop = [*params.stop_strings(), *stops]
        return params
    options = literal_options(kind)
    if options is not None:
        params.regex = "|".join(f"({_escape(option)})" for option in options)
    else:
        params.json_schema = closed_text(json_schema_of(kind))
    params.dtype = None
    return params


def _escape(text: str) -> str:
    return "".join("\\" + c if c in r"\.^$*+?{}[]|()-" else c for c in text)


def literal_options(kind: Any) -> list[str] | None:
    """The texts of a Literal or Enum of strings; None for other types."""
    values: list[Any] = []
    if get_origin(kind) is Literal:
        values = list(get_args(kind))
    elif isinstance(kind, type) and issubclass(kind, enum.Enum):
        values = [member.value for member in kind]
    return values if values and all(isinstance(value, str) for value in values) else None


def json_schema_of(kind: Any) -> dict[str, Any]:
    """The JSON schema of a pydantic model, dataclass, TypedDict, Enum, Literal, list, dict, tuple or union."""
    if isinstance(kind, dict):
        return kind
    if hasattr(kind, "model_json_schema"):
        schema: dict[str, Any] = kind.model_json_schema()
        return schema
    if kind in _JSON_TYPES:
        return {"type": _JSON_TYPES[kind]}
    if kind is Any:
        return {}
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return {"enum": [member.value for member in kind]}
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        names = [field.name for field in dataclasses.fields(kind)]
        optional = {
            f.name
            for f in dataclasses.fields(kind)
            if f.default is not dataclasses.MISSING or f.default_factory is not dataclasses.MISSING
        }
        return _object({name: hints[name] for name in names}, [name for name in names if name not in optional])
    if typing.is_typeddict(kind):
        return _object(typing.get_type_hints(kind), sorted(kind.__required_keys__))
    return _generic_schema(kind)


def _object(hints: dict[str, Any], required: list[str]) -> dict[str, Any]:
    properties = {name: json_schema_of(hint) for name, hint in hints.items()}
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _generic_schema(kind: Any) -> dict[str, Any]:
    origin, args = get_origin(kind), get_args(kind)
    if origin is typing.Annotated:
        return json_schema_of(args[0])
    if origin is Literal:
        return {"enum": list(args)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [json_schema_of(arg) for arg in args]}
    if origin is list or kind is list:
        return {"type": "array", **({"items": json_schema_of(args[0])} if args else {})}
    if origin is tuple and args and args[-1] is not Ellipsis:
        items = [json_schema_of(arg) for arg in args]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    if origin is tuple:
        return {"type": "array", "items": json_schema_of(args[0])}
    if origin is dict or kind is dict:
        return {"type": "object", **({"additionalProperties": json_schema_of(args[1])} if args else {})}
    raise TypeError(f"dtype={kind!r}: no JSON schema is known for this type")


def parse_value(text: str, kind: Any) -> Any:
    """The text as a value of type `kind`. ProgramError if it is not one: mostly, because max_tokens cut it."""
    if isinstance(kind, str):
        kind = _NAMES.get(kind, kind)
    try:
        if kind is None or kind is Any:
            return text
        if kind is bool:
            return {"true": True, "false": False}[text.strip().lower()]
        if kind in (int, float):
            return kind(text)
        if kind is str:
            return json.loads(text, strict=False) if text.startswith('"') else text
        if literal_options(kind) is not None:
            return convert(text, kind)
        if hasattr(kind, "model_validate_json"):
            return kind.model_validate_json(text)
        return convert(json.loads(text), kind)
    except (ValueError, KeyError, TypeError) as error:
        raise ProgramError(f"{text!r} is not a {_name(kind)}; was it cut by max_tokens?") from error


def _name(kind: Any) -> str:
    return str(getattr(kind, "__name__", kind))


def convert(data: Any, kind: Any) -> Any:
    """JSON data as a value of type `kind`. ValueError if it does not fit."""
    if isinstance(kind, dict) or kind is Any:
        return data
    if hasattr(kind, "model_validate"):
        return kind.model_validate(data)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind(data)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        return kind(**{name: convert(value, hints[name]) for name, value in data.items()})
    if typing.is_typeddict(kind):
        hints = typing.get_type_hints(kind)
        return {name: convert(value, hints[name]) for name, value in data.items()}
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        if data not in args:
            raise ValueError(f"{data!r} is none of {args}")
        return data
    if origin in (Union, types.UnionType):
        return _convert_union(data, args)
    if origin is list and args:
        return [convert(item, args[0]) for item in data]
    if origin is tuple and args:
        kinds = [args[0]] * len(data) if args[-1] is Ellipsis else list(args)
        return tuple(convert(item, each) for item, each in zip(data, kinds, strict=True))
    if origin is dict and args:
        return {key: convert(value, args[1]) for key, value in data.items()}
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    expected = kind if isinstance(kind, type) else origin
    if isinstance(expected, type) and (not isinstance(data, expected) or (expected is int and isinstance(data, bool))):
        raise ValueError(f"{data!r} is not a {_name(kind)}")
    return data


def _convert_union(data: Any, kinds: tuple[Any, ...]) -> Any:
    for kind in kinds:
        try:
            return convert(data, kind)
        except (ValueError, TypeError, KeyError):
            continue
    raise ValueError(f"{data!r} fits none of {kinds}")
