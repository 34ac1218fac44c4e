"""radixlang: a language for structured generation, and the runtime that executes it.

`import radixlang as sgl` runs SGLang's programs unchanged.
"""

from __future__ import annotations

import importlib as _importlib
import os as _os
import sys as _sys
from typing import TYPE_CHECKING as _TYPE_CHECKING

# A package's own folder never belongs on sys.path. `python -m` run in a checkout puts it there, and
# transformers' `import kernels` would then find our kernels/ instead of the package of that name.
_HERE = _os.path.dirname(_os.path.realpath(__file__))
_sys.path[:] = [p for p in _sys.path if _os.path.realpath(p or ".") != _HERE]

__version__ = "0.1.0"

if _TYPE_CHECKING:
    from .errors import (
        BudgetExceeded,
        Cancelled,
        ProgramError,
        ProgramTimeout,
        RadixlangError,
        TraceError,
        UndefinedVariable,
    )
    from .lang import grammar
    from .lang.api import (
        assistant,
        assistant_begin,
        assistant_end,
        call,
        flush_cache,
        function,
        fuse,
        gen,
        gen_int,
        gen_string,
        get_server_info,
        image,
        select,
        separate_reasoning,
        set_default_backend,
        switch,
        system,
        system_begin,
        system_end,
        user,
        user_begin,
        user_end,
        video,
    )
    from .lang.backend.anthropic import Anthropic
    from .lang.backend.litellm import LiteLLM
    from .lang.backend.mock import Mock
    from .lang.backend.openai import OpenAI
    from .lang.backend.runtime_endpoint import RuntimeEndpoint
    from .lang.backend.vertexai import VertexAI
    from .lang.choices import (
        constrained_decoding,
        greedy_token_selection,
        token_length_normalized,
        unconditional_likelihood_normalized,
    )
    from .lang.global_config import global_config
    from .lang.graph import ProgramGraph
    from .lang.response_cache import ResponseCache
    from .lang.runtime_process import Runtime
    from .lang.tape import ReplayMismatch, record, replay
    from .lang.tools import Tool, tool, tool_prompt
    from .lang.typed import typed
    from .lang.usage import Budget, Usage
    from .runtime.engine import Engine

_ERRORS = "BudgetExceeded Cancelled ProgramError ProgramTimeout RadixlangError TraceError UndefinedVariable"
_API = """assistant assistant_begin assistant_end call flush_cache function fuse gen gen_int gen_string get_server_info
image select separate_reasoning set_default_backend switch system system_begin system_end user user_begin user_end
video"""
_CHOICES = "constrained_decoding greedy_token_selection token_length_normalized unconditional_likelihood_normalized"

_FACE: dict[str, str] = {
    **dict.fromkeys(_ERRORS.split(), ".errors"),
    **dict.fromkeys(_API.split(), ".lang.api"),
    **dict.fromkeys(_CHOICES.split(), ".lang.choices"),
    "Anthropic": ".lang.backend.anthropic",
    "Budget": ".lang.usage",
    "Engine": ".runtime.engine",
    "LiteLLM": ".lang.backend.litellm",
    "Mock": ".lang.backend.mock",
    "OpenAI": ".lang.backend.openai",
    "ProgramGraph": ".lang.graph",
    "ReplayMismatch": ".lang.tape",
    "ResponseCache": ".lang.response_cache",
    "Runtime": ".lang.runtime_process",
    "RuntimeEndpoint": ".lang.backend.runtime_endpoint",
    "Tool": ".lang.tools",
    "Usage": ".lang.usage",
    "VertexAI": ".lang.backend.vertexai",
    "global_config": ".lang.global_config",
    "grammar": ".lang.grammar",
    "record": ".lang.tape",
    "replay": ".lang.tape",
    "tool": ".lang.tools",
    "tool_prompt": ".lang.tools",
    "typed": ".lang.typed",
}
"""A public name to the module that it is loaded from, at its first use."""

__all__ = [
    "Anthropic",
    "Budget",
    "BudgetExceeded",
    "Cancelled",
    "Engine",
    "LiteLLM",
    "Mock",
    "OpenAI",
    "ProgramError",
    "ProgramGraph",
    "ProgramTimeout",
    "RadixlangError",
    "ReplayMismatch",
    "ResponseCache",
    "Runtime",
    "RuntimeEndpoint",
    "Tool",
    "TraceError",
    "UndefinedVariable",
    "Usage",
    "VertexAI",
    "__version__",
    "assistant",
    "assistant_begin",
    "assistant_end",
    "call",
    "constrained_decoding",
    "flush_cache",
    "function",
    "fuse",
    "gen",
    "gen_int",
    "gen_string",
    "get_server_info",
    "global_config",
    "grammar",
    "greedy_token_selection",
    "image",
    "record",
    "replay",
    "select",
    "separate_reasoning",
    "set_default_backend",
    "switch",
    "system",
    "system_begin",
    "system_end",
    "token_length_normalized",
    "tool",
    "tool_prompt",
    "typed",
    "unconditional_likelihood_normalized",
    "user",
    "user_begin",
    "user_end",
    "video",
]


def __getattr__(name: str) -> object:
    module = _FACE.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    loaded = _importlib.import_module(module, __name__)
    value: object = loaded if name == "grammar" else getattr(loaded, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_FACE})
