"""gen(best_of=k): the best of several answers, by a rule of the program's or by the model's own probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..errors import ProgramError
from .choices import mean_logprob

Pick = Callable[[Sequence[str], Sequence[dict[str, Any]]], int]
"""The index of the answer that is taken, of all texts and their meta information."""


def picker(rule: Callable[[str], float] | None) -> Pick:
    """By the highest `rule(text)`; without a rule, by the highest mean log-probability of the answer's tokens."""

    def pick(texts: Sequence[str], metas: Sequence[dict[str, Any]]) -> int:
        if rule is not None:
            scores = [float(rule(text)) for text in texts]
        else:
            tokens = [meta.get("output_token_logprobs") for meta in metas]
            if any(each is None for each in tokens):
                raise ProgramError("best_of needs best_by here: this backend reports no log-probabilities")
            scores = [mean_logprob(each or []) for each in tokens]
        return max(range(len(texts)), key=scores.__getitem__)

    return pick
