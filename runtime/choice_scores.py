"""Log-probabilities of options as continuations of one prompt, with as few computed rows as they need.

An option's first token is read from the prompt's last row, which all options share; a further token from the row of
the one before it. So the prompt is one request, and an option of one token is none; options that agree in all but
their last token share one. All go to the engine together, where one step takes them in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .. import errors
from ..lang.at_once import at_once
from .generate_request import GenerateRequest, PromptPart
from .messages import MAX_LOGPROBS, LogprobRequest
from .sampling_params import SamplingParams

if TYPE_CHECKING:
    from .front import Front

_Scores = dict[int, float]
"""By token."""


async def score_choices(
    front: Front,
    prompt_parts: Sequence[PromptPart],
    choices: Sequence[str],
    *,
    unconditional: bool,
    client: str = "",
    program: str = "",
    adapter: str = "",
    call: str = "",
) -> dict[str, Any]:
    """Shape: NativeBackend.native_score. Raises RequestError without choices, or for an empty one.

    A choice may merge with the prompt's last tokens (" Par" + "is"): all choices are then scored from the first
    token that differs for any of them, so that they stay comparable (token healing).
    """
    if not choices or not all(choices):
        raise errors.RequestError("choices must be one or more strings, none of them empty", param="choices")
    prompt = await front.tokenize(prompt_parts)
    joints = [await _joint(front, prompt_parts, prompt, choice) for choice in choices]
    start = min(_common_len(prompt, joint) for joint in joints)
    before = prompt[:start] or [front.empty_prompt()]
    tails = [joint[start:] for joint in joints]
    if sum(map(len, tails)) > MAX_LOGPROBS:
        raise errors.RequestError(f"the choices have more than {MAX_LOGPROBS} tokens together", param="choices")
    scorer = _Scorer(front, client, program, adapter, call or front.new_id())
    scored, alone = await at_once([scorer.tails(before, tails), scorer.alone(tails if unconditional else [])])
    return {
        "choices": [
            {
                "token_logprobs": lps,
                "unconditional": alone[i] if unconditional else None,
                "token_ids": tail,
                "healed": len(prompt) - start,
            }
            for i, (lps, tail) in enumerate(zip(scored, tails, strict=True))
        ],
        "prompt_tokens": len(prompt),
        "cached_tokens": scorer.cached_len,
    }


async def _joint(front: Front, parts: Sequence[PromptPart], prompt: list[int], choice: str) -> list[int]:
    """The prompt and the choice, tokenized as one text where the prompt ends in text."""
    if not parts:
        return await front.tokenize([choice])
    last = parts[-1]
    if isinstance(last, str):
        joint = await front.tokenize([*parts[:-1], last + choice])
        if _common_len(prompt, joint) < len(joint):
            return joint
    return prompt + await front.tokenize([[], choice])


class _Scorer:
    """The requests of one choice."""

    def __init__(self, front: Front, client: str, program: str, adapter: str, call: str) -> None:
        self._front = front
        self._client = client
        self._call = call
        self._program = program
        self._adapter = adapter
        self.cached_len = 0
        """The most prompt tokens that any of them found in the cache."""

    async def tails(self, before: list[int], tails: Sequence[list[int]]) -> list[list[list[Any]]]:
        """[logprob, id, text] of each token of each tail behind `before`."""
        asked: dict[tuple[int, ...], set[int]] = {(): {tail[0] for tail in tails}}
        for tail in tails:
            if len(tail) > 1:
                asked.setdefault(tuple(tail[:-1]), set()).add(tail[-1])
        answers = await at_once(self._ask(before, [*known], last) for known, last in asked.items())
        found = dict(zip(asked, answers, strict=True))
        scored = []
        for tail in tails:
            inner, ends = found[tuple(tail[:-1])]
            logprobs = [found[()][1][tail[0]], *inner, ends[tail[-1]]] if len(tail) > 1 else [ends[tail[0]]]
            scored.append(self._told(logprobs, tail))
        return scored

    async def alone(self, tails: Sequence[list[int]]) -> list[list[list[Any]]]:
        """As `tails`, without a prompt; of the first token nothing is known."""
        rest = await at_once(self.tails(tail[:1], [tail[1:]]) for tail in tails if len(tail) > 1)
        found = iter(rest)
        return [self._told([None], tail[:1]) + (next(found)[0] if len(tail) > 1 else []) for tail in tails]

    def _told(self, logprobs: Sequence[float | None], tail: Sequence[int]) -> list[list[Any]]:
        texts = map(self._front.tokenizer.token_text, tail)
        return [[*entry] for entry in zip(logprobs, tail, texts, strict=True)]

    async def _ask(self, before: list[int], known: list[int], last: set[int]) -> tuple[list[float], _Scores]:
        """The log-probabilities of `known` from its second token on, and of `last` behind it."""
        start = len(before) + 1 if len(known) > 1 else -1
        wanted = sorted(last)
        request = GenerateRequest(
            prompt=[before + known],
            sampling=SamplingParams(max_new_tokens=0, temperature=0.0),
            logprobs=LogprobRequest(output=True, prompt_start=start, token_ids=tuple(wanted)),
            call=self._call,
            client=self._client,
            program=self._program,
            adapter=self._adapter,
            add_bos=False,
            gather=0,
        )
        inner: list[float] = []
        ends: _Scores = {}
        async for chunk in self._front.generate(request):
            inner += [float(p.logprob or 0.0) for p in chunk.prompt_logprobs]
            for position in chunk.logprobs:
                ends = dict(zip(wanted, position.asked, strict=True))
            self.cached_len = max(self.cached_len, chunk.cached_len)
        return inner, ends


def _common_len(a: Sequence[int], b: Sequence[int]) -> int:
    for index, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return index
    return min(len(a), len(b))
