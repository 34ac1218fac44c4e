"""SGLang's native generate request as plain data: one reading of it for HTTP and for this process.

Ours beyond SGLang's: `prompt_parts`, `stream_deltas`, `constraint`, `keep`, `parent`, `parent_len`, `group`,
`program_id`, `next_use`, `expects` (see NativeBackend).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from ..constrained.constraint import Constraint
from ..constrained.fields import FoundConstraint, find_constraint
from ..constrained.wire import ConstraintFields, asked_in
from ..errors import GrammarError, InvalidSampling, RequestError, UnsupportedContent
from ..lang.closed_schema import closed_text
from .generate_request import MAX_INT, ExpectedPrompt, GenerateRequest, Name, Priority, PromptPart, Salt, SessionParams
from .messages import LogprobRequest
from .sampling_params import SamplingParams

_batches = itertools.count()
MAX_BATCH = 1024
MAX_GENERATIONS = 4096
"""Prompts times n of one request: more would hold up the others while they are only being refused."""
MAX_KEEP_S = 86400.0
ProgramId = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
_DTYPE_REGEX = {"int": r"[-+]?[0-9]+[ \n]*", "float": r"[-+]?[0-9]*\.?[0-9]+[ \n]*"}


class NativeSampling(ConstraintFields, kw_only=True, forbid_unknown_fields=True):
    """`sampling_params` on the wire; null is the default."""

    max_new_tokens: int | None = None
    min_new_tokens: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    stop_regex: str | list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repetition_penalty: float | None = None
    n: int | None = None
    ignore_eos: bool | None = None
    skip_special_tokens: bool | None = None
    spaces_between_special_tokens: bool | None = None
    no_stop_trim: bool | None = None
    logit_bias: dict[str, float] | None = None
    sampling_seed: int | None = None
    heal: bool | None = None
    """Token healing: the prompt's last tokens are decided again, together with what follows."""
    custom_params: dict[str, Any] | None = None
    """SGLang passes these to custom logit processors, which radixlang does not run; an empty one is harmless."""
    dtype: str | None = None
    """SGLang 0.1's frontends: "int" or "float"."""
    stream_interval: int | None = None
    """Accepted: every step streams."""


class NativeBody(msgspec.Struct):
    """A /generate request; a list in `text`, `input_ids` (of lists) makes it a batch."""

    text: str | list[str] | None = None
    input_ids: list[int | list[int]] | None = None
    prompt_parts: list[str | list[int]] | None = None
    sampling_params: NativeSampling | list[NativeSampling] | None = None
    rid: str | list[str] | None = None
    return_logprob: bool | list[bool] | None = None
    logprob_start_len: int | list[int] | None = None
    top_logprobs_num: int | list[int] | None = None
    token_ids_logprob: list[int | list[int] | None] | None = None
    return_text_in_logprobs: bool = False
    stream: bool = False
    stream_deltas: bool = False
    constraint: Constraint | None = None
    keep: Name | None = None
    keep_s: float = 0.0
    pin: bool = False
    next_use: Annotated[int, msgspec.Meta(ge=0, le=MAX_INT)] = 0
    expects: Annotated[list[ExpectedPrompt], msgspec.Meta(max_length=64)] = []
    parent: str | None = None
    parent_len: Annotated[int, msgspec.Meta(ge=0, le=MAX_INT)] = 0
    group: str | None = None
    """Requests of one group that wait are admitted together."""
    group_len: int = 0
    """How many of the group come at once: they wait a little for each other, so that one step takes them in."""
    program_id: ProgramId | None = None
    """The program run that it is a call of: among a client's equals those of the run that was served least go first."""
    priority: Priority | None = None
    timeout: float | None = None
    extra_key: Salt | list[Salt] | None = None
    cache_salt: Salt | None = None
    image_data: Any = None
    video_data: Any = None
    audio_data: Any = None
    lora_path: str | list[str | None] | None = None
    session_params: SessionParams | list[SessionParams] | None = None


@dataclass(slots=True)
class NativeCall:
    """A parsed body: one GenerateRequest a prompt, and how to answer."""

    requests: list[GenerateRequest]
    is_batch: bool
    stream: bool
    deltas: bool
    texts_in_logprobs: bool
    constraint_params: list[str]
    """Where the constraint of each request stood in the body; "": it has none."""


def convert(data: object) -> NativeBody:
    """A body from parsed JSON or a Python dict. Raises RequestError naming the field."""
    try:
        return msgspec.convert(data, NativeBody)
    except msgspec.ValidationError as error:
        raise wrong_type(error) from None


def wrong_type(error: msgspec.ValidationError) -> RequestError:
    """msgspec's message as an error whose `param` is the JSON path."""
    message = str(error)
    found = re.search(r" - at `\$\.?([^`]*)`$", message)
    unknown = re.search(r"(?:unknown|required) field `([^`]*)`", message)
    path = re.sub(r"\[(\d+)\]", r".\1", found.group(1)).replace("[...]", "") if found else None
    if unknown:
        path = f"{path}.{unknown.group(1)}" if path else unknown.group(1)
    text = message.split(" - at ")[0]
    kind = InvalidSampling if path and path.startswith("sampling_params") else RequestError
    return kind(f"{path}: {text}" if path else text, param=path)


def parse(body: NativeBody, *, client: str = "") -> NativeCall:
    """Raises RequestError or GrammarError naming the field."""
    _refuse_unserved(body)
    prompts, is_batch = _prompts(body)
    if len(prompts) > MAX_BATCH:
        raise RequestError(f"at most {MAX_BATCH} prompts a request, found {len(prompts)}", param="text")

    def each(name: str, value: Any, index: int, listed: type | tuple[type, ...] = list) -> Any:
        if not isinstance(value, list):
            return value
        if not is_batch and len(value) == 1:
            return value[0]
        if len(value) != len(prompts):
            raise RequestError(f"{name} has {len(value)} entries for {len(prompts)} prompts", param=name)
        return value[index]

    requests, places = [], []
    call = f"batch-{next(_batches)}" if is_batch else ""
    for index, prompt in enumerate(prompts):
        where = f"sampling_params.{index}" if isinstance(body.sampling_params, list) else "sampling_params"
        sampling, found = sampling_of(
            each("sampling_params", body.sampling_params, index) or NativeSampling(), body.constraint, where
        )
        places.append(found.param if found else "")
        token_ids = body.token_ids_logprob
        if is_batch and token_ids and any(isinstance(t, list) or t is None for t in token_ids):
            token_ids = each("token_ids_logprob", token_ids, index)
        requests.append(
            GenerateRequest(
                prompt=prompt,
                sampling=sampling,
                constraint=found.constraint if found else None,
                logprobs=_logprobs(
                    bool(each("return_logprob", body.return_logprob, index)),
                    each("logprob_start_len", body.logprob_start_len, index),
                    each("top_logprobs_num", body.top_logprobs_num, index) or 0,
                    token_ids or [],  # type: ignore[arg-type]
                    sampling,
                ),
                rid=each("rid", body.rid, index)
                if isinstance(body.rid, list) or not is_batch
                else f"{body.rid}_{index}"
                if body.rid
                else None,
                stream=body.stream,
                batch=body.rid if is_batch and isinstance(body.rid, str) else None,
                call=call,
                client=client,
                program=body.program_id or "",
                namespace=each("extra_key", body.extra_key, index) or body.cache_salt or "",
                adapter=each("lora_path", body.lora_path, index) or "",
                priority=body.priority or 0,
                timeout_s=body.timeout if body.timeout is not None else 600.0,
                session=each("session_params", body.session_params, index),
                keep=body.keep,
                keep_s=body.keep_s,
                pin=body.pin,
                next_use=body.next_use,
                expects=body.expects if index == 0 else [],
                parent=body.parent,
                parent_len=body.parent_len,
                group=None if body.group is None else f"{client}/{body.group}",
                gather=body.group_len or None,
            )
        )
    check_generations(sum(request.sampling.n for request in requests))
    if (body.keep or body.parent) and (is_batch or requests[0].sampling.n > 1):
        raise RequestError("keep and parent take one prompt and n = 1", param="keep")
    if not 0 <= body.keep_s <= MAX_KEEP_S:
        raise RequestError(f"keep_s must be in [0, {MAX_KEEP_S:.0f}] seconds, found {body.keep_s}", param="keep_s")
    if (body.keep or body.parent) and body.session_params:
        raise RequestError("a session keeps its paths itself; drop keep and parent", param="keep")
    return NativeCall(requests, is_batch, body.stream, body.stream_deltas, body.return_text_in_logprobs, places)


def check_generations(count: int) -> None:
    """Raises RequestError for more generations than one request may ask for."""
    if count > MAX_GENERATIONS:
        told = f"at most {MAX_GENERATIONS} generations (prompts times n) a request, found {count}"
        raise RequestError(told, param="n")


def _refuse_unserved(body: NativeBody) -> None:
    for name in ("image_data", "video_data", "audio_data"):
        if getattr(body, name):
            raise UnsupportedContent(f"this model takes text only; drop {name}", param=name)


def _prompts(body: NativeBody) -> tuple[list[list[PromptPart]], bool]:
    given = [n for n in ("text", "input_ids", "prompt_parts") if getattr(body, n) is not None]
    if len(given) != 1:
        found = "none" if not given else " and ".join(given)
        raise RequestError(f"give one of text, input_ids or prompt_parts; found {found}", param="text")
    if body.prompt_parts is not None:
        return [list(body.prompt_parts)], False
    value: Any = body.text if body.text is not None else body.input_ids
    if isinstance(value, str):
        return [[value]], False
    if not value:
        raise RequestError(f"{given[0]} must not be empty", param=given[0])
    if body.input_ids is not None and len({isinstance(item, int) for item in value}) > 1:
        raise RequestError("input_ids is a list of ids or a list of such lists, not both", param="input_ids")
    if isinstance(value[0], int):
        return [[list(value)]], False
    if [] in value:
        raise RequestError("input_ids holds an empty list; give at least one id a prompt", param="input_ids")
    return [[p if isinstance(p, str) else list(p)] for p in value], True


def sampling_of(
    wire: NativeSampling, constraint: Constraint | None, where: str
) -> tuple[SamplingParams, FoundConstraint | None]:
    """The runtime's parameters and the constraint of a wire `sampling_params`, which stands at `where`."""
    fields: dict[str, Any] = {}
    for name in NativeSampling.__struct_fields__:
        value = getattr(wire, name)
        if value is not None and name in SamplingParams.__struct_fields__:
            fields[name] = value
    for name in ("stop", "stop_regex"):
        value = fields.get(name)
        if value is not None:
            fields[name] = (value,) if isinstance(value, str) else tuple(value)
    if "stop" in fields:
        fields["stop"] = tuple(s for s in fields["stop"] if s)
    if "stop_token_ids" in fields:
        fields["stop_token_ids"] = tuple(fields["stop_token_ids"])
    if "logit_bias" in fields:
        fields["logit_bias"] = _bias(fields["logit_bias"])
    if wire.custom_params:
        raise InvalidSampling("custom_params need a custom logit processor, which is not served", param="custom_params")
    asked = asked_in(wire)
    if isinstance(wire.json_schema, str | dict):
        asked["json_schema"] = closed_text(wire.json_schema)  # as SGLang does
    if wire.dtype is not None:
        if wire.dtype not in _DTYPE_REGEX:
            raise InvalidSampling('dtype is "int" or "float"', param=f"{where}.dtype")
        if asked.setdefault("regex", _DTYPE_REGEX[wire.dtype]) != _DTYPE_REGEX[wire.dtype]:
            raise GrammarError(
                "dtype and regex cannot be combined; give one", param=f"{where}.dtype", code="conflicting_constraints"
            )
    if constraint is not None and asked:
        raise RequestError(
            f"constraint and {', '.join(asked)} cannot be combined; give one",
            param="constraint",
            code="conflicting_constraints",
        )
    if constraint is not None:
        return SamplingParams(**fields), FoundConstraint(constraint, "constraint")
    try:
        found = find_constraint(asked)
    except GrammarError as error:
        error.param = f"{where}.{error.param}" if error.param else where
        raise
    return SamplingParams(**fields), found._replace(param=f"{where}.{found.param}") if found else None


def _bias(given: Mapping[str, float]) -> dict[int, float]:
    try:
        return {int(token): float(bias) for token, bias in given.items()}
    except ValueError:
        raise InvalidSampling("logit_bias maps token ids to numbers", param="logit_bias") from None


def _logprobs(
    wanted: bool, start: int | None, num_top: int, token_ids: list[int], sampling: SamplingParams
) -> LogprobRequest | None:
    if not wanted:
        return None
    if not 0 <= num_top <= 1024:
        raise RequestError(f"top_logprobs_num must be in [0, 1024], found {num_top}", param="top_logprobs_num")
    if start is None or start < 0:
        # With nothing to generate the prompt's own log-probabilities are the only sense of the request.
        prompt_start = 0 if sampling.max_new_tokens == 0 else -1
    else:
        # SGLang's frontend asks from prompt_len - 2 and takes the first entry for the last prompt token.
        prompt_start = start + 1 if start > 0 else 0
    return LogprobRequest(output=True, prompt_start=prompt_start, num_top=num_top, token_ids=tuple(token_ids))
