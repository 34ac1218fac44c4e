"""The names that programs are written with."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, overload

from .backend.base_backend import BaseBackend
from .choices import ChoicesSamplingMethod, token_length_normalized
from .closed_schema import closed_text
from .global_config import global_config, resolve_backend
from .grammar import Grammar, fused
from .ir import (
    SglConstantText,
    SglExpr,
    SglGen,
    SglImage,
    SglRoleBegin,
    SglRoleEnd,
    SglSelect,
    SglSeparateReasoning,
    SglSwitch,
    SglVideo,
    as_expr,
    chosen_case,
    role_expr,
)
from .program import SglFunction
from .tools import Tool, as_tools, tool_fields
from .xml_model import spec_of

if TYPE_CHECKING:
    from .state import ProgramState

Func = TypeVar("Func", bound=Callable[..., Any])


@overload
def function(func: Func) -> SglFunction: ...


@overload
def function(func: None = None, num_api_spec_tokens: int | None = None) -> Callable[[Func], SglFunction]: ...


def function(
    func: Callable[..., Any] | None = None, num_api_spec_tokens: int | None = None
) -> SglFunction | Callable[[Func], SglFunction]:
    """Makes a program of a function whose first parameter is `s`. As a decorator, bare or with arguments.

    num_api_spec_tokens: with priced APIs, answer several gens from one call of that many tokens.
    """
    if func is not None:
        return SglFunction(func, num_api_spec_tokens)
    return lambda decorated: SglFunction(decorated, num_api_spec_tokens)


def gen(
    name: str | None = None,
    max_tokens: int | None = None,
    min_tokens: int | None = None,
    n: int | None = None,
    stop: str | Sequence[str] | None = None,
    stop_token_ids: Sequence[int] | None = None,
    stop_regex: str | Sequence[str] | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    min_p: float | None = None,
    frequency_penalty: float | None = None,
    presence_penalty: float | None = None,
    ignore_eos: bool | None = None,
    return_logprob: bool | None = None,
    logprob_start_len: int | None = None,
    top_logprobs_num: int | None = None,
    return_text_in_logprobs: bool | None = None,
    dtype: Any | None = None,
    choices: Sequence[str] | None = None,
    choices_method: ChoicesSamplingMethod | None = None,
    regex: str | None = None,
    json_schema: str | dict[str, Any] | None = None,
    ebnf: str | None = None,
    structural_tag: str | dict[str, Any] | None = None,
    seed: int | None = None,
    repetition_penalty: float | None = None,
    logit_bias: dict[int, float] | None = None,
    lora_path: str | None = None,
    priority: int | None = None,
    check: Callable[[str], Any] | None = None,
    repair: int = 0,
    tools: Sequence[Tool | Callable[..., Any]] | None = None,
    tool_choice: str = "auto",
    grammar: Grammar | None = None,
    heal: bool | None = None,
    xml: Any | None = None,
    best_of: int | None = None,
    best_by: Callable[[str], float] | None = None,
) -> SglExpr:
    """A generation, to be appended to a state; None takes what run() says.

    Its value is text (a list of n texts for n > 1; the program's text follows the first). Constrained by one of
    `regex`, `json_schema` (JSON text or a dict), `ebnf`, `xml` (a DTD, a dict of elements as
    constrained.grammar.xml_spec reads it, or a model), `structural_tag`, or `dtype`: int, float, bool, str, or a type
    that JSON can hold, read with `state.value(name)`. `choices` makes it a `select`. `check` refuses a value by
    returning False or raising; then up to `repair` more are tried, and refused ones leave no text. `tools`: calls in
    the answer are well formed; `tool_choice` is "auto" (text, calls, or both), "required", "none" or a tool's name.
    `grammar`: put together with radixlang.grammar; its captures become values.
    `heal`: the last tokens of the text so far are decided again, together with what follows: "http:" goes on with "://"
    as one token. The text itself never changes.
    `best_of`: the best of that many answers is taken, by the highest `best_by(text)`, or without it by the highest mean
    log-probability.
    """
    if best_of is not None and (n is not None or best_of < 1):
        raise ValueError("best_of is at least 1, and takes the place of n")
    if choices is not None:
        if not choices:
            raise ValueError("gen(choices=[]): give at least one option, or None to generate freely")
        return SglSelect(name, choices, 0.0 if temperature is None else temperature, choices_method, seed)
    if regex is not None:
        re.compile(regex)
    named = (("regex", regex), ("json_schema", json_schema), ("ebnf", ebnf), ("xml", xml))
    constraints = [name for name, value in named if value is not None]
    if tools is not None and (constraints or dtype is not None or structural_tag is not None):
        constraints = [*constraints, "tools"] if constraints else ["another", "tools"]
    if grammar is not None:
        constraints = [*constraints, "grammar"]
    if len(constraints) > 1:
        raise ValueError(f"gen takes one constraint, found {' and '.join(constraints)}")
    constraint = None if xml is None else {"type": "xml", "spec": spec_of(xml)}
    if grammar is not None:
        regex, constraint = (grammar.regex(), None) if grammar.is_regular else (None, grammar.constraint())
    value_type, known_tools = _value_type(dtype, json_schema), None
    if tools is not None:
        known_tools = as_tools(tools)
        fields = tool_fields(known_tools, tool_choice)
        json_schema, structural_tag = fields.get("json_schema"), fields.get("structural_tag")
    return SglGen(
        name,
        options={
            "dtype": value_type,
            "check": check,
            "repair": repair,
            "tools": known_tools,
            "grammar": grammar,
            "best_of": best_of,
            "best_by": best_by,
        },
        max_new_tokens=max_tokens,
        min_new_tokens=min_tokens,
        n=n if best_of is None else best_of,
        stop=stop,
        stop_token_ids=stop_token_ids,
        stop_regex=stop_regex,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        min_p=min_p,
        frequency_penalty=frequency_penalty,
        presence_penalty=presence_penalty,
        ignore_eos=ignore_eos,
        return_logprob=return_logprob,
        logprob_start_len=logprob_start_len,
        top_logprobs_num=top_logprobs_num,
        return_text_in_logprobs=return_text_in_logprobs,
        dtype=dtype,
        regex=regex,
        json_schema=None if json_schema is None else closed_text(json_schema),
        ebnf=ebnf,
        constraint=constraint,
        structural_tag=_json_text(structural_tag),
        seed=seed,
        repetition_penalty=repetition_penalty,
        logit_bias=logit_bias,
        lora_path=lora_path,
        priority=priority,
        heal=heal,
    )


def _json_text(value: str | dict[str, Any] | None) -> str | None:
    return json.dumps(value) if isinstance(value, dict) else value


def _value_type(dtype: Any, json_schema: str | dict[str, Any] | None) -> Any:
    """What `state.value` reads: the dtype; of a bare schema, JSON data."""
    if dtype is not None:
        if json_schema is not None:
            warnings.warn("both dtype and json_schema are set; dtype is used", stacklevel=3)
        return dtype
    return {} if json_schema is not None else None


def fuse(expr: str | SglExpr, name: str | None = None, max_tokens: int | None = None) -> SglExpr:
    """Text and constrained gens as one generation: fixed text costs no calls, and the gens' values are read from it.

    name: of the whole. max_tokens: of the whole; default: the gens' own together, and what the text takes.
    """
    inner = as_expr(expr)
    if inner is None:
        raise TypeError(f"fuse() takes an expression, not {type(expr).__name__}")
    grammar, tokens = fused(inner)
    fixed = sum(len(p.value) for p in getattr(inner, "expr_list", [inner]) if isinstance(p, SglConstantText))
    return gen(name, max_tokens=max_tokens or (tokens + fixed if tokens else None), grammar=grammar)


def gen_int(
    name: str | None = None,
    max_tokens: int | None = None,
    n: int | None = None,
    stop: str | Sequence[str] | None = None,
    stop_token_ids: Sequence[int] | None = None,
    stop_regex: str | Sequence[str] | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    min_p: float | None = None,
    frequency_penalty: float | None = None,
    presence_penalty: float | None = None,
    ignore_eos: bool | None = None,
    return_logprob: bool | None = None,
    logprob_start_len: int | None = None,
    top_logprobs_num: int | None = None,
    return_text_in_logprobs: bool | None = None,
) -> SglExpr:
    """gen with dtype=int."""
    return gen(**locals(), dtype=int)


def gen_string(
    name: str | None = None,
    max_tokens: int | None = None,
    n: int | None = None,
    stop: str | Sequence[str] | None = None,
    stop_token_ids: Sequence[int] | None = None,
    stop_regex: str | Sequence[str] | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    min_p: float | None = None,
    frequency_penalty: float | None = None,
    presence_penalty: float | None = None,
    ignore_eos: bool | None = None,
    return_logprob: bool | None = None,
    logprob_start_len: int | None = None,
    top_logprobs_num: int | None = None,
    return_text_in_logprobs: bool | None = None,
) -> SglExpr:
    """gen with dtype=str: a quoted string."""
    return gen(**locals(), dtype=str)


def select(
    name: str | None = None,
    choices: Sequence[str] | None = None,
    temperature: float = 0.0,
    choices_method: ChoicesSamplingMethod = token_length_normalized,
    seed: int | None = None,
) -> SglSelect:
    """One of `choices`, as `choices_method` decides; with temperature > 0, drawn from their probabilities."""
    assert choices is not None, "select needs choices"
    return SglSelect(name, choices, temperature, choices_method, seed)


def switch(value: Any, cases: dict[str, Any], default: Any = None) -> SglExpr:
    """The case whose key is `value`, a choice that stays in a compiled program's graph.

    `cases`: strings or expressions by key; a value that is no key takes `default`, and without one fails.
    """
    known = {key: _case(case) for key, case in cases.items()}
    other = None if default is None else _case(default)
    if isinstance(value, SglExpr):  # a traced value
        return SglSwitch(value, known, other)
    return chosen_case(value, known, other)


def _case(case: Any) -> SglExpr:
    expr = as_expr(case)
    if expr is None:
        raise TypeError(f"a case of switch is a string or an expression, not {type(case).__name__}")
    return expr


def image(path: str | bytes) -> SglImage:
    """An image: a file's path, or its bytes."""
    return SglImage(path)


def video(path: str, num_frames: int) -> SglVideo:
    """`num_frames` frames of a video file."""
    return SglVideo(path, num_frames)


def system(expr: str | SglExpr | None = None) -> SglExpr:
    """A system message."""
    return role_expr("system", expr)


def user(expr: str | SglExpr | None = None) -> SglExpr:
    """A user message."""
    return role_expr("user", expr)


def assistant(expr: str | SglExpr | None = None) -> SglExpr:
    """An assistant message."""
    return role_expr("assistant", expr)


def system_begin() -> SglRoleBegin:
    """The begin of a system message whose parts are appended one by one; a role inside a role fails."""
    return SglRoleBegin("system")


def system_end() -> SglRoleEnd:
    """Its end. A run fails where no system message is open."""
    return SglRoleEnd("system")


def user_begin() -> SglRoleBegin:
    """The begin of a user message whose parts are appended one by one; a role inside a role fails."""
    return SglRoleBegin("user")


def user_end() -> SglRoleEnd:
    """Its end. A run fails where no user message is open."""
    return SglRoleEnd("user")


def assistant_begin() -> SglRoleBegin:
    """The begin of an assistant message whose parts are appended one by one; a role inside a role fails."""
    return SglRoleBegin("assistant")


def assistant_end() -> SglRoleEnd:
    """Its end. A run fails where no assistant message is open."""
    return SglRoleEnd("assistant")


def separate_reasoning(expr: str | SglExpr | None = None, model_type: str | None = None) -> SglExpr:
    """`expr`, whose gens' answers are split: NAME keeps what was said, NAME_reasoning_content what was thought."""
    inner = as_expr(expr) if expr is not None else None
    if inner is None:
        raise TypeError("separate_reasoning() takes an expression")
    return SglSeparateReasoning(model_type, inner)


def set_default_backend(backend: Any) -> None:
    """What runs programs that name no backend: a backend, or a Runtime."""
    global_config.default_backend = backend


def call(name: str, **kwargs: Any) -> ProgramState:
    """Runs the program that the backend keeps under `name` (CompiledProgram.register), in one request.

    `kwargs`: the program's arguments, and options of run. In a program that is traced it is a node, whose values are
    read as call(…)["x"], and `kwargs` are arguments alone.
    """
    from .compiler import call_program
    from .tracer import current_trace

    trace = current_trace()
    return call_program(name, kwargs) if trace is None else trace.call_by_name(name, kwargs)  # type: ignore[return-value]


def flush_cache(backend: BaseBackend | None = None) -> bool:
    """Empties the backend's prefix cache."""
    return resolve_backend(backend).flush_cache()


def get_server_info(backend: BaseBackend | None = None) -> dict[str, Any]:
    """What the backend says of its server."""
    return resolve_backend(backend).get_server_info()
