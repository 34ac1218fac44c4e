"""The options of a run: sampling for all its gens, and how it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import TraceError
from .run_context import RunContext, current_run
from .sampling import SglSamplingParams
from .source_location import user_location
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
    """Options of one run. `values`: those that were given; also `given`."""

    def __init__(self, values: dict[str, Any]) -> None:
        unknown = [name for name in values if name not in RUN_OPTIONS]
        if unknown:
            raise TypeError(f"run has no option {', '.join(unknown)}; there are {', '.join(RUN_OPTIONS)}")
        self.given = values
        self.values = {**RUN_OPTIONS, **values}
        self.backend: Any = self.values["backend"]
        self.stream = bool(self.values["stream"])
        self.use_thread = bool(self.values["use_thread"])
        self.timeout_s: float | None = self.values["timeout"]
        self.budget: Budget | None = self.values["budget"]
        self.retries = int(self.values["retries"])
        self.on_event: Callable[[dict[str, Any]], None] | None = self.values["on_event"]
        self.cache: Any = self.values["cache"]
        if self.timeout_s is not None and not self.timeout_s > 0:
            raise ValueError(f"timeout is in seconds and more than 0, or None; found {self.timeout_s!r}")
        if self.retries < 0:
            raise ValueError(f"retries must be 0 or more, found {self.retries}")

    def sampling(self) -> SglSamplingParams:
        """What holds for gens that say nothing themselves; lists are copied."""
        return SglSamplingParams(**{name: self.values[name] for name in SAMPLING_OPTIONS}).clone()

    def sampling_in_graph(self, program: str) -> dict[str, Any]:
        """The sampling that is given, for all gens of `program`, which a traced one calls with these options.

        TraceError for an option that a graph has once, for the whole of it.
        """
        for name in self.given:
            if name not in SAMPLING_OPTIONS and name not in ("stream", "use_thread"):
                told = f"{program}(…, {name}=…): the graph has one {name}, that of its run"
                raise TraceError(told, where=user_location())
        return {name: value for name, value in self.given.items() if name in SAMPLING_OPTIONS and value is not None}

    def passed_on(self, backend: Any) -> dict[str, Any]:
        """What programs that the body calls are run with, where their call says nothing else."""
        return {**{name: value for name, value in self.given.items() if name in SAMPLING_OPTIONS}, "backend": backend}

    def run_context(self, backend: Any) -> RunContext:
        run = RunContext(
            budget=self.budget,
            retries=self.retries,
            on_event=self.on_event,
            tape=current_tape(),
            cache=self.cache,
            caller=current_run(),
            passed_on=self.passed_on(backend),
        )
        if self.timeout_s is not None:
            run.set_deadline(self.timeout_s)
        return run
