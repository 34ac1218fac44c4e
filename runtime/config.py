"""Configuration: frozen, documented, checked, passed in. Command-line options are derived from these fields."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Literal

from ..errors import ConfigError

logger = logging.getLogger(__name__)


def _in_range(name: str, value: float, low: float, high: float = math.inf) -> None:
    if not low <= value <= high:
        bound = f"at most {high}" if value > high else f"at least {low}"
        raise ConfigError(f"--{name.replace('_', '-')} must be {bound}, found {value}", param=name)


_ALGORITHMS = {name: name for name in ("auto", "tree", "ngram", "draft", "none")} | {"standalone": "draft"}
"""By SGLang's names too; whatever the case."""
_TRAINED_HEADS = ("eagle", "eagle3", "nextn", "mtp", "frozen_kv_mtp", "dflash", "dspark")
"""SGLang's algorithms that need a head trained for the model: they would change no output, so such commands start."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineConfig:
    """What runs and how much of the machine it takes."""

    model_path: str = "smollm2-135m-instruct"
    """A name of the model store, a GGUF file, a Hugging Face directory or hub id."""
    tokenizer_path: str | None = None
    """Where the tokenizer lies; default: with the model."""
    chat_template: str | None = None
    """Jinja file, Jinja source, or a known name such as chatml; default: the model's own."""
    context_length: int | None = None
    """Tokens of prompt and output together; default: the model's own limit."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs."""
    executor: Literal["auto", "native", "torch", "transformers"] = "auto"
    """native: the C++ step. torch: the reference. transformers: its modelling code. auto: the first that covers it."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of activations and unquantised weights, in the torch executor."""
    kv_cache_dtype: Literal["auto", "float32", "bfloat16", "float16", "int8", "fp8"] = "auto"
    """Of cached K and V; fp8 (e4m3) on a GPU."""
    num_threads: int = 0
    """Compute threads; 0: the cores that this process may use."""
    max_total_tokens: int = 0
    """KV slots; 0: what mem_fraction_static of the free memory holds, at most 64 full contexts."""
    mem_fraction_static: float | None = None
    """Share of the free memory for weights and KV; default: 0.5 of a machine's, 0.9 of a GPU's."""
    max_running_requests: int = 256
    """Requests in one step."""
    max_queued_requests: int = 256
    """Waiting requests; more are refused with 429. A batch, its n and a program run are one, of 16 generations on
    average."""
    chunked_prefill_size: int = 512
    """Token budget of one step: decode rows and prefill chunks together."""
    itl_target_ms: float = 100.0
    """Milliseconds between tokens of running requests: chunks of prompts are cut to keep them. 0: no target."""
    page_size: int = 1
    """KV slots handed out together; a power of two."""
    disable_radix_cache: bool = False
    """Share nothing: the baseline to measure against."""
    radix_eviction_policy: str = "program-gdsf"
    """Which unlocked leaf goes first: program-gdsf, lru, lfu, slru, tlru."""
    kv_events_config: str | None = None
    """Where the cache's events go, for routers: JSON in vLLM's fields (publisher: zmq or null, endpoint, topic,
    replay_endpoint, buffer_steps …) and block_size; "{}": port 5557. GET /v1/kv_events has them too. Default: off."""
    schedule_policy: Literal["lpm", "fcfs"] = "lpm"
    """lpm: longest cached prefix first, nobody starved. fcfs: in order of arrival."""
    disable_cuda_graph: bool = False
    """Launch the kernels of a decode step one by one."""
    disable_jump_forward: bool = False
    """Draw tokens that a grammar forces one by one: the model may spell the forced text in other tokens."""
    disable_overlap_schedule: bool | None = None
    """Plan a step only when the one before is committed. Default: yes on a CPU whose cores all compute the steps."""
    speculative_algorithm: str = "auto"
    """Who guesses tokens: tree (what followed before), ngram (repeated text), draft (a small model), auto, none."""
    speculative_draft_model_path: str | None = None
    """The small model that drafts, of the same tokenizer; also used by auto. Default: none."""
    speculative_num_draft_tokens: int = 16
    """Guessed tokens that a step tries for one request, at most; how many it does try follows what pays."""
    random_seed: int | None = None
    """Of requests that bring none; default: from the system."""
    quantize: Literal["none", "w4", "w8"] = "none"
    """Round an unquantised model to 4 or 8 bits at load; native executor only."""
    weight_cache: bool = True
    """Keep packed weights in the cache folder (RADIXLANG_WEIGHT_CACHE_GB GB at most, 32 by itself) and map them next
    time."""
    load_format: Literal["auto", "dummy"] = "auto"
    """dummy: random weights (benchmarks)."""
    enable_lora: bool = False
    """Serve LoRA adapters; --lora-paths implies it."""
    lora_paths: tuple[str, ...] = ()
    """Adapters of the start: name=folder, or a folder alone, which is then the name. Default: none."""
    max_loras_per_batch: int = 8
    """Adapters of one step; requests of others wait."""
    max_lora_rank: int = 0
    """Largest rank that is taken; 0: that of --lora-paths, at least 16."""

    def __post_init__(self) -> None:
        if not self.model_path:
            raise ConfigError("--model-path is empty", param="model_path")
        _in_range("num_threads", self.num_threads, 0, 1024)
        if self.context_length is not None:
            _in_range("context_length", self.context_length, 1)
        _in_range("max_total_tokens", self.max_total_tokens, 0)
        _in_range("max_running_requests", self.max_running_requests, 1, 1 << 16)
        _in_range("max_queued_requests", self.max_queued_requests, 1)
        _in_range("chunked_prefill_size", self.chunked_prefill_size, 1, 1 << 20)
        _in_range("itl_target_ms", self.itl_target_ms, 0)
        _in_range("speculative_num_draft_tokens", self.speculative_num_draft_tokens, 1, 1 << 10)
        _in_range("max_loras_per_batch", self.max_loras_per_batch, 1, 1 << 10)
        _in_range("max_lora_rank", self.max_lora_rank, 0, 1 << 14)
        if self.lora_paths:
            object.__setattr__(self, "enable_lora", True)
        self._check_speculation()
        if self.mem_fraction_static is not None and not 0.0 < self.mem_fraction_static <= 1.0:
            raise ConfigError("--mem-fraction-static must lie in (0, 1]", param="mem_fraction_static")
        if self.page_size < 1 or self.page_size & (self.page_size - 1):
            raise ConfigError("--page-size must be a power of two", param="page_size")

    def _check_speculation(self) -> None:
        algorithm = _ALGORITHMS.get(self.speculative_algorithm.lower())
        if self.speculative_algorithm.lower() in _TRAINED_HEADS:
            logger.warning(
                "--speculative-algorithm %s needs a trained head, which radixlang does not run: auto is used",
                self.speculative_algorithm,
            )
            algorithm = "auto"
            object.__setattr__(self, "speculative_draft_model_path", None)  # it names the head
        if algorithm is None:
            raise ConfigError(
                f"--speculative-algorithm must be one of {', '.join(dict.fromkeys(_ALGORITHMS.values()))}, found "
                f"{self.speculative_algorithm!r}",
                param="speculative_algorithm",
            )
        object.__setattr__(self, "speculative_algorithm", algorithm)
        if algorithm == "draft" and self.speculative_draft_model_path is None:
            raise ConfigError(
                "--speculative-algorithm draft needs --speculative-draft-model-path",
                param="speculative_draft_model_path",
            )
        if algorithm in ("tree", "ngram") and self.speculative_draft_model_path is not None:
            raise ConfigError(
                f"--speculative-draft-model-path is for the algorithms draft and auto, not for {algorithm}",
                param="speculative_draft_model_path",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerConfig:
    """How the server listens, whom it lets in, and what it tells."""

    host: str = "127.0.0.1"
    """Address to listen on; on a loopback one, only requests with a loopback Host are answered."""
    port: int = 30000
    """Port to listen on."""
    api_key: str | None = None
    """Key that every request must bring; also from RADIXLANG_API_KEY. Default: none asked."""
    admin_api_key: str | None = None
    """Key of the operators' routes (flush_cache, abort_request, adapters); default: the API key."""
    api_key_file: str | None = None
    """File of API keys, one a line, so that they stand in no process list. Default: none."""
    api_keys: tuple[str, ...] = ()
    """More API keys: each has a share of the machine and cached prefixes of its own. Default: none."""
    share_prefixes: bool = False
    """Let requests with different keys reuse each other's cached prefixes: how long a prompt takes then tells whether
    somebody sent it."""
    ssl_certfile: str | None = None
    """PEM file of the certificate, with those that lead to its root: the server speaks HTTPS. Default: HTTP."""
    ssl_keyfile: str | None = None
    """PEM file of its key; default: in the certificate's file."""
    served_model_name: str | None = None
    """What requests call the model; default: model_path as given."""
    max_body_mb: float = 64.0
    """MiB of a request's body; more is refused with 413."""
    cors_origins: tuple[str, ...] = ()
    """Web origins whose pages may call this server; "*" for all. Default: none."""
    request_timeout: float = 600.0
    """Seconds that a request may take, waiting included; its own `timeout` can only lower it."""
    shutdown_drain_secs: float = 0.0
    """Seconds between SIGTERM and refusing new work, for load balancers to notice /ready."""
    shutdown_timeout: float = 30.0
    """Seconds that running requests get to finish after SIGTERM."""
    stuck_after: float = 10.0
    """Seconds without an answer of the engine's loop after which it counts as stuck and is started again."""
    sampling_defaults: Literal["model", "openai"] = "model"
    """Sampling that a request leaves open. model: as its generation_config.json or GGUF header says, then as the API
    says. openai: as the API says."""
    strict_fields: bool = False
    """Refuse bodies with unknown fields (400) instead of naming them in x-radixlang-ignored."""
    reasoning_parser: str = "auto"
    """Format of the model's thoughts, which chat answers tell apart: auto (by its template), none, deepseek-r1, qwen3,
    kimi, mistral …"""
    tool_call_parser: str = "auto"
    """How the model writes calls of tools: auto (by its template), hermes, qwen25, llama3, mistral, deepseekv3 …"""
    metrics_compat: tuple[str, ...] = ()
    """Other servers whose names /metrics tells the same numbers by: sglang, vllm. Default: none."""
    no_ui: bool = False
    """Serve no page at /: browsers, too, hear that the server runs."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe log lines that are written."""
    log_requests: bool = True
    """One log line a request, without its text."""
    programs: tuple[str, ...] = ()
    """Python files whose @function programs are published: POST /programs/NAME, and NAME as a model of the chat API.
    Default: none."""

    def __post_init__(self) -> None:
        _in_range("port", self.port, 0, 65535)
        for name in self.metrics_compat:
            if name not in ("sglang", "vllm"):
                raise ConfigError(f"--metrics-compat takes sglang and vllm, found {name!r}", param="metrics_compat")
        if self.reasoning_parser not in ("auto", "none"):
            from ..lang.reasoning import REASONING_TAGS  # rarely asked for

            if self.reasoning_parser not in REASONING_TAGS:
                known = ", ".join(("auto", "none", *sorted(REASONING_TAGS)))
                told = f"--reasoning-parser must be one of {known}; found {self.reasoning_parser!r}"
                raise ConfigError(told, param="reasoning_parser")
        if self.tool_call_parser != "auto":
            from .server.tools.forms import FORMS  # rarely asked for

            if self.tool_call_parser not in FORMS:
                known = ", ".join(("auto", *sorted(FORMS)))
                told = f"--tool-call-parser must be one of {known}; found {self.tool_call_parser!r}"
                raise ConfigError(told, param="tool_call_parser")
        if self.ssl_keyfile is not None and self.ssl_certfile is None:
            raise ConfigError("--ssl-keyfile needs --ssl-certfile", param="ssl_certfile")
        if not 0 < self.max_body_mb < math.inf:
            raise ConfigError(f"--max-body-mb must be a number above 0, found {self.max_body_mb}", param="max_body_mb")
        _in_range("request_timeout", self.request_timeout, 0)
        _in_range("shutdown_drain_secs", self.shutdown_drain_secs, 0)
        _in_range("shutdown_timeout", self.shutdown_timeout, 0)
        _in_range("stuck_after", self.stuck_after, 1)
