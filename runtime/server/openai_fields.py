"""The fields that OpenAI's two generation routes share, with SGLang's, vLLM's and llama.cpp's additions.

null is the default everywhere. A field that is known but cannot be honoured is named in x-radixlang-ignored, or refused
where ignoring it would change the answer's meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ...constrained.fields import FoundConstraint
from ...constrained.wire import ConstraintFields, constraint_in
from ...errors import InvalidSampling, RequestError, UnsupportedContent
from ..generate_request import Priority, Salt
from ..sampling_params import SamplingParams

MAX_TOP_LOGPROBS = 20


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class GenerationFields(ConstraintFields, kw_only=True):
    """What chat and text completions have in common."""

    model: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    n: int | None = None
    stop: str | list[str] | None = None
    max_tokens: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    seed: int | None = None
    user: str | None = None
    # accepted without an effect on the answer, as at OpenAI
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None
    # SGLang's
    top_k: int | None = None
    min_p: float | None = None
    min_tokens: int | None = None
    repetition_penalty: float | None = None
    stop_token_ids: list[int] | None = None
    stop_regex: str | list[str] | None = None
    no_stop_trim: bool | None = None
    ignore_eos: bool | None = None
    heal: bool | None = None
    """Ours: token healing, see SamplingParams."""
    skip_special_tokens: bool | None = None
    rid: str | None = None
    extra_key: Salt | None = None
    cache_salt: Salt | None = None
    priority: Priority | None = None
    lora_path: str | None = None
    timeout: float | None = None
    return_token_ids: bool | None = None
    # vLLM's
    include_stop_str_in_output: bool | None = None
    request_id: str | None = None
    """As `rid`."""
    # llama.cpp's, whose value is the default here
    cache_prompt: bool | None = None
    n_predict: int | None = None


def sampling_of(
    body: GenerationFields, *, max_tokens: int, max_name: str, vocab_size: int, defaults: Mapping[str, Any]
) -> SamplingParams:
    """The runtime's parameters, checked; `defaults` hold where the body is silent.

    Errors name the field as this API calls it.
    """
    given: dict[str, Any] = {**defaults, "max_new_tokens": max_tokens}
    for name, ours in (
        ("temperature", "temperature"), ("top_p", "top_p"), ("n", "n"), ("presence_penalty", "presence_penalty"),
        ("frequency_penalty", "frequency_penalty"), ("seed", "sampling_seed"), ("top_k", "top_k"), ("min_p", "min_p"),
        ("min_tokens", "min_new_tokens"), ("repetition_penalty", "repetition_penalty"), ("ignore_eos", "ignore_eos"),
        ("no_stop_trim", "no_stop_trim"), ("heal", "heal"), ("skip_special_tokens", "skip_special_tokens"),
    ):  # fmt: skip
        value = getattr(body, name)
        if value is not None:
            given[ours] = value
    for name in ("stop", "stop_regex"):
        value = getattr(body, name)
        if value:
            given[name] = (value,) if isinstance(value, str) else tuple(value)
    if body.stop_token_ids:
        given["stop_token_ids"] = tuple(body.stop_token_ids)
    if body.include_stop_str_in_output:
        given["no_stop_trim"] = True
    if body.logit_bias:
        given["logit_bias"] = bias_of(body.logit_bias)
    sampling = SamplingParams(**given)
    try:
        sampling.check(vocab_size)
    except InvalidSampling as error:
        names = {"max_new_tokens": max_name, "min_new_tokens": "min_tokens", "sampling_seed": "seed"}
        told = names.get(error.param or "", error.param)
        raise InvalidSampling(error.message.replace(error.param or "\0", told or "", 1), param=told) from None
    return sampling


def bias_of(given: dict[str, float]) -> dict[int, float]:
    """Token id to bias. Raises InvalidSampling."""
    try:
        return {int(token): bias for token, bias in given.items()}
    except ValueError:
        raise InvalidSampling("logit_bias maps token ids to numbers from -100 to 100", param="logit_bias") from None


def constraint_of(body: GenerationFields) -> FoundConstraint | None:
    """The one constraint among all the fields that may hold one; two are a 400 (conflicting_constraints)."""
    return constraint_in(body)


def client_of(key_holder: str, user: str | None) -> str:
    """Whose share of the machine a request takes: its key's holder's, or that of the user whom the holder names.

    A key may stand for a front end of many users: who they are, it says.
    """
    return f"{key_holder}/{user[:256]}" if user else key_holder


def check_top_logprobs(wanted: bool, top: int | None) -> int:
    """How many alternatives a chat answer lists."""
    if top is None:
        return 0
    if not wanted:
        raise RequestError("top_logprobs needs logprobs: true", param="top_logprobs")
    if not 0 <= top <= MAX_TOP_LOGPROBS:
        raise RequestError(f"top_logprobs must be in [0, {MAX_TOP_LOGPROBS}], found {top}", param="top_logprobs")
    return top


def text_of_parts(content: object, path: str) -> str:
    """The text of a message's content: a string, null, or a list of text parts. Raises UnsupportedContent."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise RequestError(f"{path} must be a string, a list of parts or null", param=path)
    texts = []
    for index, part in enumerate(content):
        where = f"{path}.{index}"
        if isinstance(part, str):
            texts.append(part)
            continue
        if not isinstance(part, dict):
            raise RequestError(f"{where} must be an object", param=where)
        kind = part.get("type", "text")
        if kind in ("text", "input_text", "output_text", "refusal"):
            text = part.get("refusal" if kind == "refusal" else "text")
            if not isinstance(text, str):
                raise RequestError(f"{where}.text must be a string", param=f"{where}.text")
            texts.append(text)
        else:
            raise UnsupportedContent(f"this model takes text only; {where} is {str(kind)[:40]!r}", param=where)
    return "".join(texts)
