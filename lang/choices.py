"""How select decides between its options: rules over the options' token log-probabilities, or a constraint.

A rule is called with lists of [logprob, token id, text]; a logprob is None where a position has nothing before it.
Such positions count as 0 in means and differences. Source: SGLang 0.5.23's three rules, defined for every input.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

TokenLogprobs = Sequence[Sequence[Any]]


@dataclass
class ChoicesDecision:
    """The chosen option, and the scores that explain it."""

    decision: str
    meta_info: dict[str, Any] | None = None


class ChoicesSamplingMethod:
    """A rule. `requires_unconditional_logprobs`: the options must be scored without the prompt, too."""

    @property
    def requires_unconditional_logprobs(self) -> bool:
        return False

    def __call__(
        self,
        *,
        choices: Sequence[str],
        normalized_prompt_logprobs: Sequence[float],
        input_token_logprobs: Sequence[TokenLogprobs],
        output_token_logprobs: Sequence[TokenLogprobs],
        unconditional_token_logprobs: Sequence[TokenLogprobs] | None = None,
    ) -> ChoicesDecision:
        if not choices:
            raise ValueError("select needs at least one option")
        index, told = self.decide(normalized_prompt_logprobs, input_token_logprobs, unconditional_token_logprobs)
        scores = {
            "normalized_prompt_logprobs": normalized_prompt_logprobs,
            "input_token_logprobs": input_token_logprobs,
            "output_token_logprobs": output_token_logprobs,
        }
        return ChoicesDecision(choices[index], {**scores, **told})

    def decide(
        self,
        normalized: Sequence[float],
        inputs: Sequence[TokenLogprobs],
        unconditional: Sequence[TokenLogprobs] | None,
    ) -> tuple[int, dict[str, Any]]:
        """The option's index, and what else the rule found of all options."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return type(self).__name__


def _argmax(values: Sequence[float]) -> int:
    """The first of the largest."""
    if not values:
        raise ValueError("select needs at least one option")
    return max(range(len(values)), key=values.__getitem__)


def _values(tokens: TokenLogprobs) -> list[float]:
    return [0.0 if token[0] is None else float(token[0]) for token in tokens]


def mean_logprob(tokens: TokenLogprobs) -> float:
    """The mean over the positions that have a log-probability; 0 where none has."""
    known = [float(token[0]) for token in tokens if token[0] is not None]
    return math.fsum(known) / len(known) if known else 0.0


def total_logprob(tokens: TokenLogprobs) -> float:
    """The log-probability of the whole option."""
    return math.fsum(_values(tokens))


def option_probabilities(totals: Sequence[float], temperature: float = 1.0) -> list[float]:
    """A distribution over the options: softmax of their total log-probabilities over `temperature`."""
    best = max(totals)
    weights = [math.exp((total - best) / temperature) for total in totals]
    return [weight / math.fsum(weights) for weight in weights]


def sample_option(totals: Sequence[float], temperature: float, seed: str | None) -> int:
    """An index drawn from `option_probabilities`; the same for the same `seed`."""
    draw = random.Random(seed).random() if seed is not None else random.random()
    for index, probability in enumerate(option_probabilities(totals, temperature)):
        draw -= probability
        if draw < 0:
            return index
    return len(totals) - 1


class TokenLengthNormalized(ChoicesSamplingMethod):
    """The option whose tokens have the highest mean log-probability."""

    def decide(
        self,
        normalized: Sequence[float],
        inputs: Sequence[TokenLogprobs],
        unconditional: Sequence[TokenLogprobs] | None,
    ) -> tuple[int, dict[str, Any]]:
        return _argmax(normalized), {}


class GreedyTokenSelection(ChoicesSamplingMethod):
    """Token by token, the options with the likeliest token stay; a shorter option goes on with its own mean."""

    def decide(
        self,
        normalized: Sequence[float],
        inputs: Sequence[TokenLogprobs],
        unconditional: Sequence[TokenLogprobs] | None,
    ) -> tuple[int, dict[str, Any]]:
        length = max((len(option) for option in inputs), default=0)
        matrix = []
        for option in inputs:
            row = _values(option)
            matrix.append(row + [mean_logprob(option)] * (length - len(row)))
        remaining = list(range(len(inputs)))
        for column in range(length):
            best = max(matrix[i][column] for i in remaining)
            remaining = [i for i in remaining if matrix[i][column] == best]
            if len(remaining) == 1:
                break
        return remaining[0], {"greedy_logprob_matrix": matrix}


class UnconditionalLikelihoodNormalized(ChoicesSamplingMethod):
    """The option that the prompt makes likelier by the most: mean of log-probability minus that without the prompt."""

    @property
    def requires_unconditional_logprobs(self) -> bool:
        return True

    def decide(
        self,
        normalized: Sequence[float],
        inputs: Sequence[TokenLogprobs],
        unconditional: Sequence[TokenLogprobs] | None,
    ) -> tuple[int, dict[str, Any]]:
        if unconditional is None:
            raise ValueError("unconditional_likelihood_normalized needs unconditional_token_logprobs")
        gains: list[float] = []
        for given, alone in zip(inputs, unconditional, strict=True):
            if len(given) != len(alone):
                raise ValueError("an option has different numbers of tokens with and without the prompt")
            gain = math.fsum(a - b for a, b in zip(_values(given), _values(alone), strict=True))
            gains.append(gain / len(given) if given else 0.0)
        return _argmax(gains), {
            "unconditional_token_logprobs": unconditional,
            "normalized_unconditional_prompt_logprobs": gains,
        }


class ConstrainedDecoding(ChoicesSamplingMethod):
    """No scores: one generation that can only be one of the options. Temperature and seed are select's."""

    def decide(
        self,
        normalized: Sequence[float],
        inputs: Sequence[TokenLogprobs],
        unconditional: Sequence[TokenLogprobs] | None,
    ) -> tuple[int, dict[str, Any]]:
        raise ValueError("constrained_decoding generates and scores nothing: it needs a radixlang engine or server")


token_length_normalized = TokenLengthNormalized()
greedy_token_selection = GreedyTokenSelection()
unconditional_likelihood_normalized = UnconditionalLikelihoodNormalized()
constrained_decoding = ConstrainedDecoding()
