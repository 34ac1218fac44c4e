"""What a gen says, as a node's parameters: what JSON can hold, and under a key what is Python."""

from __future__ import annotations

import dataclasses
from typing import Any

from .dtype import apply_dtype
from .ir import SglGen
from .sampling import SglSamplingParams

_CODE = ("check", "best_by")
"""Options that are functions: a node with one runs in this process alone."""


def gen_params(expr: SglGen, code: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """The parameters of a gen's node; its Python goes into `code`, under the node's `key`."""
    params: dict[str, Any] = {}
    for field in dataclasses.fields(expr.sampling_params):
        value = getattr(expr.sampling_params, field.name)
        if value is not None:
            params[field.name] = value
    if "dtype" in params:
        params |= _constraint_of(params.pop("dtype"))
    options = {name: value for name, value in expr.options.items() if value is not None}
    functions = [name for name in _CODE if name in options]
    if functions:
        named = (f"{name}={getattr(options[name], '__name__', type(options[name]).__name__)}" for name in functions)
        params["code"] = f"gen({', '.join(named)})"
    if options.get("repair"):
        params["repair"] = options["repair"]
    if "best_of" in options:
        params["best_of"] = options["best_of"]
    if "tools" in options:
        params["tools"] = [tool.name for tool in options["tools"]]
    if functions or "tools" in options:
        params["key"] = len(code)
        code[params["key"]] = {name: options[name] for name in (*functions, "tools") if name in options}
    return params


def _constraint_of(dtype: Any) -> dict[str, Any]:
    """A dtype as fields that need no Python type: one of the four simple names, a regex or a schema."""
    resolved = apply_dtype(SglSamplingParams(dtype=dtype), native=False)
    simple = resolved.dtype
    if simple is not None:
        return {"dtype": simple if isinstance(simple, str) else simple.__name__}
    return {"regex": resolved.regex} if resolved.regex is not None else {"json_schema": resolved.json_schema}
