"""What a gen's dtype means: a regex, a JSON schema, and a Python value."""

from __future__ import annotations

import dataclasses
import enum
import json
import types
import typing
import warnings
from functools import lru_cache
from typing import Any, Literal, Union, get_args, get_origin

from ..errors import ProgramError
from .closed_schema import closed_text
from .ir import REGEX_BOOL, REGEX_FLOAT, REGEX_INT, REGEX_STR
from .pydantic_types import adapter_of
from .sampling import SglSamplingParams

_NUMBER_STOPS = (" ", "\n")
_SIMPLE: dict[Any, tuple[str, tuple[str, ...]]] = {
    int: (REGEX_INT, _NUMBER_STOPS),
    float: (REGEX_FLOAT, _NUMBER_STOPS),
    bool: (REGEX_BOOL, ()),
    str: (REGEX_STR, ()),
}
_NAMES: dict[str, type] = {"int": int, "float": float, "bool": bool, "str": str, "string": str}
_MARKS = tuple(mark for name in ("Required", "NotRequired", "ReadOnly") if (mark := getattr(typing, name, None)))
_JSON_TYPES: dict[Any, str] = {int: "integer", float: "number", bool: "boolean", str: "string", type(None): "null"}


def apply_dtype(params: SglSamplingParams, *, native: bool) -> SglSamplingParams:
    """`params` with dtype turned into a constraint; backends of SGLang's kind get the four simple types as they are."""
    if params.dtype is None:
        return params
    kind = _NAMES.get(params.dtype, params.dtype) if isinstance(params.dtype, str) else _unnoted(params.dtype)
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
        values = list(map(_plain, get_args(kind)))
    elif isinstance(kind, type) and issubclass(kind, enum.Enum):
        values = [member.value for member in kind]
    return values if values and all(isinstance(value, str) for value in values) else None


def is_plain(kind: Any) -> bool:
    """Whether a type is read here, and not by pydantic."""
    if isinstance(kind, dict):
        return True
    try:
        return _is_plain(kind, ())
    except TypeError:  # no hash, as with notes that are lists
        return False


@lru_cache(maxsize=1024)
def _is_plain(kind: Any, outer: tuple[Any, ...]) -> bool:
    """`outer`: the classes that it is a part of."""
    if kind in _JSON_TYPES or kind is Any:
        return True
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return not issubclass(kind, enum.Flag)
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        return all(_is_json(_plain(arg)) for arg in args)
    if origin is typing.Annotated:
        return all(isinstance(note, str) for note in args[1:]) and _is_plain(args[0], outer)
    if origin is dict:
        return args[0] is str and _is_plain(args[1], outer)
    if origin in (Union, types.UnionType, list, tuple) and args:
        return all(_is_plain(arg, outer) for arg in args if arg is not Ellipsis)
    if kind in (list, dict):
        return True
    is_class = isinstance(kind, type) and (dataclasses.is_dataclass(kind) or typing.is_typeddict(kind))
    if not is_class or kind in outer or hasattr(kind, "__pydantic_validator__") or get_origin(kind) is not None:
        return False
    if dataclasses.is_dataclass(kind) and any(not f.init for f in dataclasses.fields(kind)):
        return False
    try:
        hints = typing.get_type_hints(kind, include_extras=True)
    except NameError:  # pydantic says which
        return False
    parts = [get_args(hint)[0] if get_origin(hint) in _MARKS else hint for hint in hints.values()]
    return not getattr(kind, "__parameters__", ()) and all(_is_plain(part, (*outer, kind)) for part in parts)


def _plain(value: Any) -> Any:
    """A member of an Enum as its value."""
    return value.value if isinstance(value, enum.Enum) else value


def _is_json(value: Any) -> bool:
    return value is None or type(value) in (bool, int, str)


def json_schema_of(kind: Any) -> dict[str, Any]:
    """The JSON schema of a dataclass, TypedDict, Enum, Literal, list, dict, tuple or union, or of what pydantic knows.

    TypeError for a type of which none is known.
    """
    if isinstance(kind, dict):
        return kind
    if isinstance(kind, str):
        raise TypeError(f"dtype={kind!r} is no type; names that are known are {', '.join(_NAMES)}")
    if not is_plain(kind):
        return adapter_of(kind).schema
    if kind in _JSON_TYPES:
        return {"type": _JSON_TYPES[kind]}
    if kind is Any:
        return {}
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        values = [member.value for member in kind]
        if not values or not all(isinstance(value, bool | int | float | str | None) for value in values):
            raise TypeError(f"dtype={kind!r}: no JSON schema is known; an Enum's values must be text or numbers")
        return {"enum": values}
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
        return json_schema_of(_unnoted(kind))
    if origin is Literal:
        return {"enum": list(map(_plain, args))}
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
    kind = _NAMES.get(kind, kind) if isinstance(kind, str) else _unnoted(kind)
    try:
        if kind is None:
            return text
        if kind is bool:
            return {"true": True, "false": False}[text.strip().lower()]
        if kind in (int, float):
            return kind(text)
        if kind is str:
            return json.loads(text, strict=False) if text.startswith('"') else text
        if literal_options(kind) is not None:
            return convert(text, kind)
        if not is_plain(kind):
            return adapter_of(kind).read(text)
        return convert(json.loads(text), kind)
    except (ValueError, KeyError, TypeError) as error:
        raise ProgramError(f"{text!r} is not a {_name(kind)}{_why(text, error)}") from error


def _why(text: str, error: Exception) -> str:
    """What of a whole document is wrong, or that it is none."""
    cut = "; was it cut by max_tokens?"
    try:
        data = json.loads(text)
    except ValueError:
        return cut
    is_number = isinstance(data, int | float) and not isinstance(data, bool)  # the beginning of one is one
    return ": " + "; ".join(str(error).splitlines()[:3]) + (cut if is_number else "")


def _unnoted(kind: Any) -> Any:
    """Without what Annotated says to readers."""
    while get_origin(kind) is typing.Annotated and is_plain(kind):
        kind = get_args(kind)[0]
    return kind


def _name(kind: Any) -> str:
    return str(getattr(kind, "__name__", kind))


def convert(data: Any, kind: Any) -> Any:
    """JSON data as a value of type `kind`. ValueError if it does not fit."""
    kind = _unnoted(kind)
    if isinstance(kind, dict) or kind is Any:
        return data
    if not is_plain(kind):
        return adapter_of(kind).read(json.dumps(data))
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
        for arg in args:
            if _plain(arg) == data and isinstance(data, bool) == isinstance(_plain(arg), bool):
                return arg
        raise ValueError(f"{data!r} is none of {args}")
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
    exact = type(data)  # 3 is an int before it is a float
    for kind in sorted(kinds, key=lambda kind: kind is not exact):
        try:
            return convert(data, kind)
        except (ValueError, TypeError, KeyError):
            continue
    raise ValueError(f"{data!r} fits none of {kinds}")
