"""The options of a run: sampling for all its gens, and how it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .run_context import RunContext
from .sampling import SglSamplingParams
from .tape import current_tape
from .usage import Budget

SAMPLING_OPTIONS: dict[str, Any] = {
    "max_new_tokens": 128,
    "n": 1,
    "stop": (),
    "stop_token_ids": (),
    "stop_regex": (),
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": -1,
    "min_p": 0.0,
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
    "ignore_eos": False,
    "return_logprob": None,
    "logprob_start_len": None,
    "top_logprobs_num": None,
    "return_text_in_logprobs": None,
    "seed": None,
    "repetition_penalty": None,
    "logit_bias": None,
    "lora_path": None,
    "priority": None,
}
"""Name to default. Names and defaults as far as return_text_in_logprobs are SGLang's."""

RUN_OPTIONS: dict[str, Any] = {
    **SAMPLING_OPTIONS,
    "stream": False,
    "backend": None,
    "use_thread": True,
    "timeout": None,
    "retries": 0,
    "budget": None,
    "on_event": None,
    "cache": None,
}

BATCH_OPTIONS: dict[str, Any] = {
    "num_threads": "auto",
    "progress_bar": False,
    "generator_style": False,
    "as_completed": False,
    "on_error": "raise",
}


class RunOptions:
    """Options of one run. `values`: those that were given."""

    def __init__(self, values: dict[str, Any]) -> None:
        unknown = [name for name in values if name not in RUN_OPTIONS]
        if unknown:
            raise TypeError(f"run has no option {', '.join(unknown)}; there are {', '.join(RUN_OPTIONS)}")
        self.values = {**RUN_OPTIONS, **values}
        self.backend: Any = self.values["backend"]
        self.stream = bool(self.values["stream"])
        self.use_thread = bool(self.values["use_thread"])
        self.timeout_s: float | None = self.values["timeout"]
        self.budget: Budget | None = self.values["budget"]
        self.retries = int(self.values["retries"])
        self.on_event: Callable[[dict[str, Any]], None] | None = self.values["on_event"]
        self.cache: Any = self.values["cache"]

    def sampling(self) -> SglSamplingParams:
        """What holds for gens that say nothing themselves; lists are copied."""
        return SglSamplingParams(**{name: self.values[name] for name in SAMPLING_OPTIONS}).clone()

    def run_context(self) -> RunContext:
        run = RunContext(
            budget=self.budget, retries=self.retries, on_event=self.on_event, tape=current_tape(), cache=self.cache
        )
        if self.timeout_s is not None:
            run.set_deadline(self.timeout_s)
        return run
