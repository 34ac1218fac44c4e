"""How a model's makers propose to sample it: what a request's sampling is where it does not say.

Read from generation_config.json, or `general.sampling.*` of a GGUF header. `do_sample` and lengths are left to
requests, as SGLang and vLLM leave them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ..errors import InvalidSampling
from .sampling_params import SamplingParams
from .weights.checkpoint import Checkpoint
from .weights.gguf import GgufCheckpoint
from .weights.json_files import read_json_if_there

logger = logging.getLogger(__name__)

_GENERATION_CONFIG = {name: name for name in ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")}
_GGUF = {
    "general.sampling.temp": "temperature",
    "general.sampling.top_p": "top_p",
    "general.sampling.top_k": "top_k",
    "general.sampling.min_p": "min_p",
    "general.sampling.penalty_repeat": "repetition_penalty",
}


def sampling_defaults_of(checkpoint: Checkpoint) -> dict[str, float]:
    """Fields of SamplingParams; a value that cannot be is left out with a warning.

    Raises BadCheckpoint for a generation_config.json that is no JSON.
    """
    if isinstance(checkpoint, GgufCheckpoint):
        return _checked(checkpoint.header.metadata, _GGUF, checkpoint.path)
    file = checkpoint.path / "generation_config.json"
    return _checked(read_json_if_there(file) or {}, _GENERATION_CONFIG, file)


def _checked(values: Mapping[str, Any], names: Mapping[str, str], where: object) -> dict[str, float]:
    found: dict[str, float] = {}
    for key, name in names.items():
        value = values.get(key)
        if value is None:
            continue
        try:
            if isinstance(value, bool) or not isinstance(value, int if name == "top_k" else int | float):
                raise InvalidSampling(f"{name} must be a number", param=name)
            fields: dict[str, Any] = {name: value}
            SamplingParams(**fields).check(vocab_size=0)
        except InvalidSampling as error:
            logger.warning("%s: its %s is not taken as the default: %s", where, key, error.message)
        else:
            found[name] = value
    return found
