"""A JSON schema as the engine takes it: what it serves exactly, or a refusal that names keyword and place."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from ...errors import GrammarSyntaxError, GrammarTooLarge

MAX_BYTES = 4 * 1024 * 1024


class NormalisedSchema(NamedTuple):
    """A schema that the engine takes as it is."""

    schema: dict[str, Any] | bool
    ignored: tuple[str, ...]
    """JSON pointers of annotations that are not enforced, such as an unknown `format`."""


def parse(text: str) -> Any:
    """The schema's JSON. Raises GrammarSyntaxError (line, column) or GrammarTooLarge (size, depth)."""
    if len(text) > MAX_BYTES:
        raise GrammarTooLarge(f"the schema has {len(text)} characters, at most {MAX_BYTES} are taken")
    try:
        return json.loads(text)
    except RecursionError:
        raise GrammarTooLarge("the schema is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise GrammarSyntaxError(
            f"the schema is not JSON: {error.msg} (line {error.lineno}, column {error.colno})",
            line=error.lineno,
            column=error.colno,
        ) from None


def normalise(text: str, *, strict: bool) -> NormalisedSchema:
    """The schema in the engine's terms. Raises a GrammarError with pointer and keyword where that cannot be exact."""
    schema = parse(text)
    if not isinstance(schema, dict | bool):
        raise GrammarSyntaxError(f"a schema is an object or a boolean, found {type(schema).__name__}")
    return NormalisedSchema(schema, ())
