"""A schema's text as JSON."""

from __future__ import annotations

import json
import math
from typing import Any

from ...errors import GrammarSyntaxError, GrammarTooLarge

MAX_CHARS = 4 * 1024 * 1024


def parse(text: str) -> Any:
    """The schema's JSON. Raises GrammarSyntaxError (line, column) or GrammarTooLarge (size, depth)."""
    if len(text) > MAX_CHARS:
        raise GrammarTooLarge(f"the schema has {len(text)} characters, at most {MAX_CHARS} are taken")
    try:
        return json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError:
        raise GrammarTooLarge("the schema is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise GrammarSyntaxError(
            f"not JSON: {error.msg} (line {error.lineno}, column {error.colno})",
            line=error.lineno,
            column=error.colno,
        ) from None
    except ValueError as error:  # numbers of thousands of digits; NaN
        raise GrammarSyntaxError(f"not JSON: {error}") from None


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"the number {text[:40]} is larger than readers of JSON take")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
