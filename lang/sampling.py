"""How a gen samples: what run() says, what the gen says, and what a backend is told.

Precedence: the gen, then run(), then the default. A gen's stop replaces run()'s; the chat template's stop strings are
added to either.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, fields
from typing import Any

from .global_config import global_config


@dataclass
class SglSamplingParams:
    """Sampling of one call. Fields and defaults are SGLang's as far as `json_schema`; in a gen, None is "not given"."""

    max_new_tokens: int | None = 128
    min_new_tokens: int | None = 0
    n: int | None = 1
    stop: str | Sequence[str] | None = ()
    stop_token_ids: Sequence[int] | None = ()
    stop_regex: str | Sequence[str] | None = ()
    temperature: float | None = 1.0
    top_p: float | None = 1.0
    top_k: int | None = -1
    min_p: float | None = 0.0
    frequency_penalty: float | None = 0.0
    presence_penalty: float | None = 0.0
    ignore_eos: bool | None = False
    return_logprob: bool | None = None
    logprob_start_len: int | None = None
    top_logprobs_num: int | None = None
    return_text_in_logprobs: bool | None = None
    dtype: Any | None = None
    regex: str | None = None
    json_schema: str | None = None
    ebnf: str | None = None
    structural_tag: str | None = None
    constraint: dict[str, Any] | None = None
    """A constrained.constraint value as a dict; composed grammars arrive here."""
    heal: bool | None = None
    """Decide the prompt's last tokens again, together with what follows them."""
    seed: int | None = None
    """Same seed, same prompt: same tokens."""
    repetition_penalty: float | None = None
    logit_bias: dict[int, float] | None = None
    lora_path: str | None = None
    priority: int | None = None

    def clone(self) -> SglSamplingParams:
        """A copy whose lists are its own."""
        made = copy(self)
        made.stop = self.stop if isinstance(self.stop, str) else list(self.stop or ())
        made.stop_token_ids = list(self.stop_token_ids or ())
        made.stop_regex = self.stop_regex if isinstance(self.stop_regex, str) else list(self.stop_regex or ())
        return made

    def stop_strings(self) -> list[str]:
        return [self.stop] if isinstance(self.stop, str) else list(self.stop or ())

    def to_openai_kwargs(self) -> dict[str, Any]:
        return {
            "max_tokens": self.max_new_tokens,
            "stop": self.stop or None,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "frequency_penalty": self.frequency_penalty,
            "presence_penalty": self.presence_penalty,
        }

    def to_litellm_kwargs(self) -> dict[str, Any]:
        return self.to_openai_kwargs()

    def to_vertexai_kwargs(self) -> dict[str, Any]:
        return {
            "candidate_count": 1,
            "max_output_tokens": self.max_new_tokens,
            "stop_sequences": self.stop_strings(),
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k if self.top_k is not None and self.top_k > 0 else None,
        }

    def to_anthropic_kwargs(self) -> dict[str, Any]:
        kwargs: dict[str, Any] = {
            "max_tokens": self.max_new_tokens,
            "stop_sequences": [s for s in self.stop_strings() if s.strip()],  # the API refuses blank ones
            "temperature": min(self.temperature if self.temperature is not None else 1.0, 1.0),
        }
        if self.top_p is not None and self.top_p < 1.0:
            kwargs["top_p"] = self.top_p
        if self.top_k is not None and self.top_k > 0:
            kwargs["top_k"] = self.top_k
        return kwargs

    def to_srt_kwargs(self) -> dict[str, Any]:
        """`sampling_params` of POST /generate. What SGLang's servers do not know is sent only when it is set."""
        kwargs: dict[str, Any] = {
            "max_new_tokens": self.max_new_tokens,
            "min_new_tokens": self.min_new_tokens,
            "n": self.n,
            "stop": self.stop_strings(),
            "stop_token_ids": list(self.stop_token_ids or ()),
            "stop_regex": [self.stop_regex] if isinstance(self.stop_regex, str) else list(self.stop_regex or ()),
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "min_p": self.min_p,
            "frequency_penalty": self.frequency_penalty,
            "presence_penalty": self.presence_penalty,
            "ignore_eos": self.ignore_eos,
            "regex": self.regex,
            "json_schema": self.json_schema,
            "skip_special_tokens": global_config.skip_special_tokens_in_output,
            "spaces_between_special_tokens": global_config.spaces_between_special_tokens_in_out,
        }
        for name, value in (
            ("ebnf", self.ebnf),
            ("structural_tag", self.structural_tag),
            ("heal", self.heal),
            ("sampling_seed", self.seed),
            ("repetition_penalty", self.repetition_penalty),
            ("logit_bias", {str(k): v for k, v in self.logit_bias.items()} if self.logit_bias else None),
        ):
            if value is not None:
                kwargs[name] = value
        return {name: value for name, value in kwargs.items() if value is not None}

    def request_fields(self) -> dict[str, Any]:
        """What POST /generate takes beside `sampling_params`."""
        wanted = {
            "return_logprob": self.return_logprob,
            "logprob_start_len": self.logprob_start_len,
            "top_logprobs_num": self.top_logprobs_num,
            "return_text_in_logprobs": self.return_text_in_logprobs,
            "lora_path": self.lora_path,
            "priority": self.priority,
            "constraint": self.constraint,
        }
        return {name: value for name, value in wanted.items() if value is not None}


def resolve(default: SglSamplingParams, own: SglSamplingParams, template_stops: Sequence[str]) -> SglSamplingParams:
    """What holds for a gen: `own` where it says something, else `default`. Neither is changed."""
    result = copy(default)
    said = {name: value for name, value in vars(own).items() if value is not None}
    vars(result).update(said)
    result = result.clone()
    if template_stops:
        result.stop = [*result.stop_strings(), *template_stops]
    return result


def unset_sampling_params(**given: Any) -> SglSamplingParams:
    """A gen's parameters: everything that is not `given` is None."""
    params = SglSamplingParams(**dict.fromkeys((f.name for f in fields(SglSamplingParams)), None))
    for name, value in given.items():
        setattr(params, name, value)
    return params
