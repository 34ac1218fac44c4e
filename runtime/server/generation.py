"""Generations gathered from a front's chunks, and what APIs tell about them: usage and timings."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from ...constrained.fields import FoundConstraint, locate
from ...errors import GrammarError, PromptTooLong
from ..front import Front
from ..generate_request import GenerateChunk, GenerateRequest
from ..messages import DraftCounts, Finish, TokenLogprobs

WIDTH = 32
"""Parts of one request, such as documents, that are under way at a time: reading their texts holds up all others."""
_FINISH_REASONS = {"stop": "stop", "length": "length", "abort": "abort"}


@dataclass(slots=True)
class Generation:
    """What one of n generations got so far."""

    index: int
    text: list[str] = field(default_factory=list)
    thought: list[str] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprobs] = field(default_factory=list)
    finish: Finish | None = None

    def take(self, chunk: GenerateChunk) -> None:
        self.text.append(chunk.text)
        self.thought.append(chunk.thought)
        self.token_ids += chunk.token_ids
        self.logprobs += chunk.logprobs
        self.finish = chunk.finish or self.finish


class Tally:
    """Counts and times of one request, over its n generations."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._first: float | None = None
        self.prompt_len = 0
        self.cached_len = 0
        self._completion: dict[int, int] = {}
        self._forced: dict[int, int] = {}
        self._drafts: dict[int, DraftCounts] = {}
        self._queue_s = self._prefill_s = self._grammar_s = 0.0

    def take(self, chunk: GenerateChunk) -> None:
        if self._first is None and chunk.token_ids:
            self._first = time.perf_counter()
        self.prompt_len = max(self.prompt_len, chunk.prompt_len)
        self.cached_len = max(self.cached_len, chunk.cached_len)
        self._completion[chunk.index] = chunk.completion_len
        self._forced[chunk.index] = chunk.forced_len
        self._drafts[chunk.index] = chunk.drafts
        self._queue_s = max(self._queue_s, chunk.queue_s)
        self._prefill_s = max(self._prefill_s, chunk.prefill_s)
        self._grammar_s = max(self._grammar_s, chunk.grammar_s)

    @property
    def completion_len(self) -> int:
        return sum(self._completion.values())

    def timings(self) -> dict[str, Any]:
        """llama.cpp's `timings` in milliseconds with drafts, and ours: queue_ms, ttft_ms, grammar_ms, forced_n."""
        total_ms = (time.perf_counter() - self._started) * 1e3
        queue_ms, prompt_ms = self._queue_s * 1e3, self._prefill_s * 1e3
        first_ms = queue_ms + prompt_ms or ((self._first or time.perf_counter()) - self._started) * 1e3
        computed, made = self.prompt_len - self.cached_len, self.completion_len
        predicted_ms = max(0.0, total_ms - first_ms)
        return {
            "cache_n": self.cached_len,
            "prompt_n": computed,
            "prompt_ms": round(prompt_ms, 3),
            "prompt_per_token_ms": round(prompt_ms / max(1, computed), 3),
            "prompt_per_second": round(computed / prompt_ms * 1e3, 3) if prompt_ms else None,
            "predicted_n": made,
            "predicted_ms": round(predicted_ms, 3),
            "predicted_per_token_ms": round(predicted_ms / max(1, made), 3),
            "predicted_per_second": round(made / predicted_ms * 1e3, 3) if predicted_ms else None,
            "queue_ms": round(queue_ms, 3),
            "ttft_ms": round(first_ms, 3),
            "grammar_ms": round(self._grammar_s * 1e3, 3),
            "forced_n": sum(self._forced.values()),
            "draft_n": sum(d.proposed for d in self._drafts.values()),
            "draft_n_accepted": sum(d.correct for d in self._drafts.values()),
        }


def usage_of(tallies: list[Tally], *, reasoning_tokens: int = 0) -> dict[str, Any]:
    """OpenAI's usage of one or more prompts."""
    prompt = sum(t.prompt_len for t in tallies)
    completion = sum(t.completion_len for t in tallies)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": sum(t.cached_len for t in tallies)},
        "completion_tokens_details": {"reasoning_tokens": reasoning_tokens},
    }


def headers_of(tallies: list[Tally]) -> dict[str, str]:
    """What a whole answer tells beside its body."""
    return {
        "x-radixlang-queue-ms": f"{max(t.timings()['queue_ms'] for t in tallies):.3f}",
        "x-radixlang-cached-tokens": str(sum(t.cached_len for t in tallies)),
    }


def warnings_of(ignored: list[str]) -> dict[str, Any]:
    """What of the request was not honoured, for an answer's body; nothing where all was."""
    return {"warnings": [f"{name} is not known here and was ignored" for name in ignored]} if ignored else {}


def finish_reason(finish: Finish | None) -> str | None:
    """OpenAI's word for the end."""
    return _FINISH_REASONS.get(finish.type, finish.type) if finish is not None else None


async def chunks_of(
    front: Front, request: GenerateRequest, *, prompt_param: str, found: FoundConstraint | None = None
) -> AsyncGenerator[GenerateChunk, None]:
    """The front's chunks; errors name the field as the route's API calls it.

    Where no token is asked for, the token that would have come first is scored all the same: /generate tells it, as
    SGLang does; OpenAI's lists hold the tokens of the text, no more.
    """
    try:
        async with contextlib.aclosing(front.generate(request)) as chunks:
            async for chunk in chunks:
                if request.sampling.max_new_tokens == 0:
                    chunk.logprobs = []
                yield chunk
    except PromptTooLong as error:
        error.param = prompt_param
        raise
    except GrammarError as error:
        if found is not None:
            locate(error, found.param)
        raise


async def gather(
    chunks: AsyncIterator[GenerateChunk], count: int, tally: Tally
) -> tuple[list[Generation], list[TokenLogprobs]]:
    """All of a request's generations, finished, and its prompt's log-probabilities."""
    generations = [Generation(i) for i in range(count)]
    prompt_logprobs: list[TokenLogprobs] = []
    async for chunk in chunks:
        tally.take(chunk)
        generations[chunk.index].take(chunk)
        if chunk.index == 0:
            prompt_logprobs += chunk.prompt_logprobs
    return generations, prompt_logprobs
