"""One conversation's generation, for the APIs that are not OpenAI's chat but mean the same."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import msgspec

from ...constrained.fields import FoundConstraint
from ...errors import GrammarError, InvalidSampling
from ..generate_request import GenerateChunk, GenerateRequest
from ..sampling_params import SamplingParams
from .generation import chunks_of
from .http import Request
from .messages import prompt_ids
from .openai_fields import client_of
from .reasoning import Thinking, thinking_of, told_apart
from .service import Service
from .tools.forms import GPT_OSS
from .tools.plan import ToolPlan


def obliged(
    service: Service,
    ids: list[int],
    plan: ToolPlan | None,
    found: FoundConstraint | None,
    *,
    shows_thoughts: bool = False,
) -> tuple[FoundConstraint | None, Thinking | None]:
    """What the answer to the prompt `ids` must be, and how the thoughts are written that are to be told apart.

    `found`: the request's own constraint; where tools may be called, that of answers without a call. `shows_thoughts`:
    they are told with the text. Raises GrammarError where `found` cannot stand beside calls, or a call is forced.
    """
    if found is not None and plan is not None:
        if plan.grammar is not None and plan.grammar.is_forced:
            raise GrammarError(
                f"tool_choice and {found.param} cannot be combined; give one", code="conflicting_constraints"
            )
        plan.answer_in(found)
    elif found is not None:
        return found, None
    thinking = thinking_of(service, ids)
    if plan is None and thinking is not None and thinking.format == GPT_OSS.name:
        thinking = thinking._replace(channels=GPT_OSS.channels)
    untold = None if shows_thoughts else thinking
    if plan is None or plan.grammar is None:
        return None, untold
    tags, is_open = (thinking.tags, thinking.is_open) if thinking is not None else (None, False)
    if shows_thoughts:
        plan.shown_thought, plan.is_thinking = tags, is_open
    return plan.grammar.constraint(tags, is_open=is_open), untold


def shown(sampling: SamplingParams, plan: ToolPlan | None, thinking: Thinking | None) -> SamplingParams:
    """The sampling with which calls and thoughts can be read: special tokens may open them."""
    if plan is None and (thinking is None or not thinking.is_special):
        return sampling
    return msgspec.structs.replace(sampling, skip_special_tokens=False)


async def converse(
    service: Service,
    request: Request,
    *,
    messages: list[dict[str, Any]],
    plan: ToolPlan | None,
    sampling: dict[str, Any],
    adapter: str,
    user: str | None,
    names: dict[str, str],
    found: FoundConstraint | None = None,
    stream: bool,
    prompt_param: str = "messages",
) -> AsyncGenerator[GenerateChunk, None]:
    """The chunks of one answer, its thoughts apart from its text.

    `sampling`: SamplingParams' fields, over the model's own defaults; without max_new_tokens the rest of the context.
    `names`: what this API calls them, for errors. Raises RequestError for what cannot be, before anything is generated.
    """
    ids = await prompt_ids(service, messages, plan, param=prompt_param)
    found, thinking = obliged(service, ids, plan, found)
    given = {**service.sampling_defaults, "max_new_tokens": max(1, service.max_context - len(ids)), **sampling}
    params = SamplingParams(**given)
    try:
        params.check(service.vocab_size)
    except InvalidSampling as error:
        told = names.get(error.param or "", error.param)
        raise InvalidSampling(error.message.replace(error.param or "\0", told or "", 1), param=told) from None
    call = GenerateRequest(
        prompt=[ids],
        sampling=shown(params, plan, thinking),
        constraint=found.constraint if found else None,
        stream=stream,
        client=client_of(request.client, user),
        adapter=adapter,
        timeout_s=service.timeout(None),
        add_bos=False,
    )
    chunks = chunks_of(service.front, call, prompt_param=prompt_param, found=found)
    return told_apart(chunks, thinking) if thinking is not None else chunks
