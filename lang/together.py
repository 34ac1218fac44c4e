"""Constrained gens with text between them as one call, where that gives what one call each would give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from ..errors import RadixlangError
from .backend.base_backend import NativeBackend
from .generation import sampling_of
from .ir import SglExpr, SglGen
from .native_calls import NativeCalls
from .sampling import SglSamplingParams
from .slot import Slot

if TYPE_CHECKING:
    from .perform import Performer

_CONSTRAINTS = ("regex", "json_schema", "ebnf", "structural_tag")
_SHARED = ("temperature", "top_p", "top_k", "min_p", "logit_bias", "lora_path", "priority")
"""What holds for a whole call, and so must be the same for all gens of it."""
_OWN = ("max_new_tokens", "stop", "seed", "dtype", "constraint")
"""What each gen may say for itself. All else must be as it is by default: it counts or reports what belongs to one."""
_DEFAULTS = SglSamplingParams()

Owned = tuple[SglExpr, Slot | None]


async def generate_together(performer: Performer, parts: Sequence[Owned]) -> int:
    """Answers gens and appends text from the beginning of `parts`; returns how many of `parts` are done.

    `parts`: gens with their slots, text between them, a gen first and last. What is not done is to be asked for one by
    one: the call cannot stand for it, or ended before it.
    """
    stream = performer.stream
    request = await _request(performer, parts)
    if request is None:
        return 0
    slots = [slot for _, slot in parts if slot is not None]
    for asked in slots:
        stream.run.emit("gen", stream, asked, attempt=0)
    slots[0].started = True
    assert isinstance(stream.calls, NativeCalls)
    try:
        found, meta = await stream.calls.generate_parts(request)
    except RadixlangError:  # each gen's own call meets it, or passes; and it is told where that gen stands
        return 0
    stream.run.usage.add(meta)
    ends = iter(found)
    done = 0
    pending = ""
    for place, (expr, slot) in enumerate(parts):
        if slot is None:
            pending += expr.value  # type: ignore[attr-defined]  # SglConstantText
            continue
        end = next(ends, None)
        if end is None:
            break
        begin, stop, why, text = end
        stream.text_ += pending + text
        pending, done = "", place + 1
        performer.define(slot, text, _meta_of(meta, begin, stop, why))
    stream.calls.committed = len(stream.text_)
    performer.check_length()
    return done


def _meta_of(meta: dict[str, Any], begin: int, end: int, why: str) -> dict[str, Any]:
    """One gen's share: what precedes it in the call was prompt to it, and already computed."""
    before = int(meta.get("prompt_tokens") or 0)
    finish = {"type": why, "length": end - begin} if why == "length" else {"type": why, "matched": None}
    return {
        **{name: value for name, value in meta.items() if name != "parts"},
        "prompt_tokens": before + begin,
        "cached_tokens": before + begin if begin else meta.get("cached_tokens", 0),
        "completion_tokens": end - begin,
        "finish_reason": finish,
    }


async def _request(performer: Performer, parts: Sequence[Owned]) -> SglSamplingParams | None:
    """The call for all; None where it would not give what the gens give alone."""
    stream, run = performer.stream, performer.stream.run
    backend = stream.backend
    if not isinstance(backend, NativeBackend) or not backend.joins_gens or stream.stream or stream.images_:
        return None
    if run.tape is not None or run.cache is not None or run.budget is not None or performer.speculation is not None:
        return None
    template = await performer.template()
    first: SglSamplingParams | None = None
    asked: list[dict[str, Any]] = []
    total, before = 0, ""
    for expr, _ in parts:
        if not isinstance(expr, SglGen):
            before += expr.value  # type: ignore[attr-defined]  # SglConstantText
            continue
        params = sampling_of(performer, expr, template)
        first = first or params
        constraint = _constraint_of(params)
        if (
            constraint is None
            or not _is_plain(params)
            or any(expr.options.get(o) for o in ("check", "tools", "grammar", "best_of"))
        ):
            return None
        if any(getattr(params, name) != getattr(first, name) for name in _SHARED):
            return None
        limit = int(params.max_new_tokens or 0)
        part = {"constraint": constraint, "before": before, "max_tokens": limit, "stop": params.stop_strings()}
        if limit < 1:
            return None
        asked.append(part)
        total, before = total + limit + len(before.encode()), ""
    assert first is not None
    constraint = {"type": "sequence", "parts": asked}
    return replace(
        first, **dict.fromkeys((*_CONSTRAINTS, "dtype"), None), constraint=constraint, max_new_tokens=total, stop=()
    )


def _is_plain(params: SglSamplingParams) -> bool:
    for field in fields(params):
        if field.name not in (*_CONSTRAINTS, *_SHARED, *_OWN):
            value = getattr(params, field.name)
            if value and value != getattr(_DEFAULTS, field.name):
                return False
    return params.seed is None or float(params.temperature or 0.0) <= 1e-5


def _constraint_of(params: SglSamplingParams) -> dict[str, Any] | None:
    import msgspec

    from ..constrained.fields import constraint_from_fields

    if params.constraint is not None:
        return params.constraint
    asked = {name: value for name in _CONSTRAINTS if (value := getattr(params, name)) is not None}
    found = constraint_from_fields(asked) if len(asked) == 1 else None
    return None if found is None else msgspec.to_builtins(found)
