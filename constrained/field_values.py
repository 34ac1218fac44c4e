"""Values of a request's fields, checked: errors name the field."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from ..errors import GrammarError, UnsupportedGrammar


def object_at(value: Any, param: str) -> Mapping[str, Any]:
    """An object. Raises GrammarError."""
    if not isinstance(value, Mapping):
        raise GrammarError(f"must be an object, found {type(value).__name__}", param=param)
    return value


def text_at(value: Any, param: str) -> str:
    """A string. Raises GrammarError."""
    if not isinstance(value, str):
        raise GrammarError(f"must be a string, found {type(value).__name__}", param=param)
    return value


def bool_at(value: Any, param: str) -> bool:
    """true or false; null is false. Raises GrammarError."""
    if value is None or isinstance(value, bool):
        return bool(value)
    raise GrammarError(f"must be true or false, found {type(value).__name__}", param=param)


def check_keys(spec: Mapping[str, Any], known: AbstractSet[str], param: str) -> None:
    """Nothing in an object that holds a constraint is passed over: raises UnsupportedGrammar for other keys."""
    for key, value in spec.items():
        if key not in known and value is not None:
            raise UnsupportedGrammar(
                f"{key} is not known here; remove it (known are {', '.join(sorted(known))})",
                keyword=key,
                param=f"{param}.{key}",
            )
