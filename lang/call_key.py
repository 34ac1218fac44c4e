"""What a call of a program is known by: its prompt and how it asks. The same on every backend."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from .dtype import apply_dtype
from .ir import SglGen, SglSelect
from .sampling import SglSamplingParams, resolve


def call_key(prompt: str, expr: SglGen | SglSelect, default: SglSamplingParams) -> dict[str, Any]:
    """JSON data that two calls share exactly if they ask the same."""
    if isinstance(expr, SglSelect):
        method = type(expr.choices_method).__name__ if expr.choices_method is not None else None
        return {"prompt": prompt, "choices": expr.choices, "temperature": expr.temperature, "method": method}
    params = apply_dtype(resolve(default, expr.sampling_params, ()), native=True)
    key = {"prompt": prompt, "sampling": params.to_srt_kwargs(), **params.request_fields()}
    data: dict[str, Any] = json.loads(json.dumps(key))
    return data


def digest_of(key: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
