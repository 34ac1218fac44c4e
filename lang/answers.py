"""Where a call's answer comes from: a tape that is replayed, a cache, or the backend."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from .call_key import call_key
from .choices import ChoicesDecision
from .ir import SglGen, SglSelect
from .response_cache import model_name_of

if TYPE_CHECKING:
    from .stream_executor import StreamExecutor

Answer = tuple[Any, dict[str, Any]]


async def answer(
    stream: StreamExecutor, expr: SglGen | SglSelect, ask: Callable[[], Awaitable[Answer]], *, fresh: bool = False
) -> Answer:
    """(value, meta) of `expr` on `stream`; `ask` calls the backend, and appends to what the backend sees.

    fresh: an answer that was kept will not do.
    """
    run = stream.run
    if run.tape is None and run.cache is None:
        value, meta = await ask()
        run.usage.add(meta)
        return value, meta
    key = call_key(stream.text_, expr, stream.default_sampling_para)
    model = await model_name_of(stream.backend) if run.cache is not None else ""
    found: Answer | None = None
    if run.tape is not None and run.tape.is_replayed:
        found = run.tape.answer(key)
    elif run.cache is not None and not fresh:
        found = run.cache.get(model, key)
    if found is not None:
        value = found[0]
        stream.calls.append_answer(str(value[0] if isinstance(value, list) else value))
        run.usage.add({}, round_trips=0)
        return found
    value, meta = await ask()
    run.usage.add(meta)
    if run.cache is not None:
        run.cache.put(model, key, value, meta)
    if run.tape is not None:
        run.tape.write(key, value, meta, stream.chat_template or stream.backend.chat_template)
    return value, meta


async def choose(stream: StreamExecutor, expr: SglSelect, ask: Callable[[], Awaitable[ChoicesDecision]]) -> Answer:
    """As `answer`, for a select."""

    async def decide() -> Answer:
        decision = await ask()
        return decision.decision, dict(decision.meta_info or {})

    return await answer(stream, expr, decide)
