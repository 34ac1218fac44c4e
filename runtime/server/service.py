"""What every route shares: the front once the model is loaded, names, limits, and whether new work is taken."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ... import __version__
from ...constrained.fields import FIELD_NAMES
from ...errors import ModelNotFound, OverloadedError, RadixlangError, RequestError
from ..config import EngineConfig, ServerConfig
from ..front import Front
from ..metrics import Metrics
from .http import Request
from .responses_store import ResponsesStore
from .shelf import Shelf
from .streaming import Sweeper
from .tenants import Tenants
from .tools.forms import ToolForm, form_of

if TYPE_CHECKING:
    from ..programs.published import Published
    from .active import Active
    from .batches import Batch
    from .files import File
    from .grammar import Checker

BATCH_WIDTH = 32
"""Lines of all batches that are answered at once: a part of what the queue takes."""
_REFUSED_FIELDS = frozenset({
    "allowed_token_ids", "audio", "bad_words", "custom_logit_processor", "documents", "function_call", "functions",
    "prompt_logprobs", "return_hidden_states", "session_params", "truncate_prompt_tokens", "use_beam_search",
})  # fmt: skip
"""Fields of others whose silent loss would change what the answer means."""
_TOLD_FIELDS = ("response_format", "structured_outputs", "regex", "ebnf")


class Service:
    """One server's state. Everything on its event loop."""

    def __init__(self, engine: EngineConfig, server: ServerConfig, metrics: Metrics | None = None) -> None:
        self.engine_config = engine
        self.config = server
        self.metrics = metrics or Metrics()
        self.tenants = Tenants(server.api_key, share=server.share_prefixes)
        self.sweeper = Sweeper()
        self.responses = ResponsesStore()
        self.files: Shelf[File] = Shelf(max_items=10_000, max_bytes=256 << 20)
        self.batches: Shelf[Batch] = Shelf(max_items=10_000, max_bytes=0)
        self.batch_lines = asyncio.Semaphore(BATCH_WIDTH)
        """Lines of batches that are being answered."""
        self.created = int(time.time())
        self.started = time.monotonic()
        self.engine_state: Callable[[], str] = lambda: "ready" if self._front is not None else "loading"
        """loading, ready, stuck, restarting, down: what the supervisor says."""
        self.engine_age_s: Callable[[], float] = lambda: 0.0
        self.loading: Callable[[], str] = lambda: "still loading"
        """What the engine is at while the model is not there."""
        self.is_leaving = False
        """/ready says no; requests are still taken."""
        self.is_draining = False
        """New requests are refused."""
        self.num_active = 0
        """Requests being answered, health checks excluded."""
        self.active: set[Active] = set()
        """Those requests."""
        self.failure: str | None = None
        """Why the model could not be loaded."""
        self.checker: Checker | None = None
        """What checks grammars, once one is to be checked."""
        self._front: Front | None = None
        self._last_stats: dict[str, Any] = {}
        self._last_stats_s = 0.0
        self.published: dict[str, Published] = {}
        """Programs of the server's own files, by name."""
        if server.programs:
            from ..programs.published import load

            self.published = load(server.programs)

    # -- the model

    def serve(self, front: Front) -> None:
        """The model is loaded; requests are taken from now on."""
        self._front = front
        self.metrics.model_loaded.labels(self.model_name).set(1)
        self.metrics.startup_time.labels("ready").set(time.monotonic() - self.started)

    @property
    def front(self) -> Front:
        """Raises OverloadedError (503) while loading or draining."""
        if self.is_draining:
            raise OverloadedError("the server is shutting down", code="shutting_down", retry_after_s=5)
        if self._front is None:
            raise OverloadedError(f"the model is not loaded: {self.failure or self.loading()}", code="loading")
        return self._front

    @property
    def tool_form(self) -> ToolForm:
        """How the model writes calls of tools."""
        return form_of(self.front.tool_template, self.config.tool_call_parser)

    @property
    def info(self) -> dict[str, Any]:
        """Of the model; empty while it loads."""
        return self._front.info if self._front is not None else {}

    @property
    def model_name(self) -> str:
        return self.config.served_model_name or self.engine_config.model_path

    @property
    def fingerprint(self) -> str:
        """OpenAI's system_fingerprint: changes with the version and the model."""
        told = f"{__version__}:{self.engine_config.model_path}:{self.engine_config.dtype}"
        return "fp_" + hashlib.sha256(told.encode()).hexdigest()[:10]

    @property
    def max_context(self) -> int:
        return int(self.info.get("max_context", 0))

    @property
    def vocab_size(self) -> int:
        return int(self.info.get("vocab_size", 0))

    @property
    def sampling_defaults(self) -> dict[str, Any]:
        """SamplingParams' fields that the model's makers propose, where they apply."""
        return dict(self.info.get("sampling_defaults") or {}) if self.config.sampling_defaults == "model" else {}

    def check_model(self, name: str | None) -> None:
        """Raises ModelNotFound for a model that is not served; none means the one that is."""
        if name and name.removesuffix(":latest") not in self.names():
            raise ModelNotFound(
                f"the model {name!r} is not served here; this server has {self.model_name!r}", param="model"
            )

    def adapter_of(self, model: str | None, lora_path: str | None = None) -> str:
        """The adapter that a request means, "" for the model itself: its lora_path, or a model "name" or "base:name".

        Raises ModelNotFound for a model that is not served, RequestError for two adapters.
        """
        named = self._adapter_named(model.removesuffix(":latest")) if model else ""
        if not named:
            self.check_model(model)
            return lora_path or ""
        if lora_path and lora_path != named:
            raise RequestError(
                f"model means the adapter {named!r} and lora_path {lora_path!r}; give one", param="model"
            )
        return named

    def _adapter_named(self, model: str) -> str:
        adapters = self.adapters
        if not adapters or model in self.names():
            return ""
        after = (model.removeprefix(f"{name}:") for name in self.names() if model.startswith(f"{name}:"))
        return next((name for name in (model, *after) if name in adapters), "")

    @property
    def adapters(self) -> dict[str, str]:
        """Name to folder of those that are loaded."""
        return self._front.adapters.paths if self._front is not None else {}

    def names(self) -> tuple[str, ...]:
        """What requests may call the model: its served name, its path, the last part of its path, "default"."""
        path = self.engine_config.model_path
        return (self.model_name, path, path.rstrip("/").rsplit("/", 1)[-1], "default")

    def timeout(self, asked_s: float | None) -> float:
        """Seconds that a request gets. Raises RequestError for a `timeout` that is not positive."""
        if asked_s is None:
            return self.config.request_timeout
        if asked_s <= 0:
            raise RequestError(f"timeout must be more than 0 seconds, found {asked_s}", param="timeout")
        return min(asked_s, self.config.request_timeout)

    def check_fields(self, request: Request) -> None:
        """Raises RequestError for unknown fields that would change the answer, and for all when strict.

        Strict: --strict-fields, or the header x-radixlang-strict: 1.
        """
        strict = self.config.strict_fields or request.headers.get("x-radixlang-strict") == "1"
        for name in request.ignored:
            field = name.rpartition(".")[2]
            if field in _REFUSED_FIELDS or field in FIELD_NAMES:  # a constraint that this route does not read
                raise RequestError(f"{name} is not served here; drop it", param=name, code="unsupported_field")
            if strict:
                raise RequestError(f"unknown field {name!r}", param=name, code="unknown_field")
        if request.unread:
            path = request.unread[0]
            raise RequestError(
                f"{path} asks for a constraint where none is read; ask by one of {', '.join(_TOLD_FIELDS)} in the body",
                param=path,
                code="unsupported_field",
            )

    # -- health

    def not_ready(self) -> str | None:
        """Why new requests are refused; None when they are taken."""
        if self.is_leaving or self.is_draining:
            return "shutting down"
        return self.not_healthy()

    def not_healthy(self) -> str | None:
        """Why this server does not work; None when it does."""
        if self._front is None:
            return self.failure or f"the model is loading: {self.loading()}"
        state = self.engine_state()
        if state == "stuck":
            return f"the engine has not finished a step for {self.engine_age_s():.0f} s"
        if state != "ready":
            return f"the engine is {state}"
        health = self._front.health()
        return None if health.get("ready", True) else str(health.get("reason") or "the engine is not ready")

    async def stats(self) -> dict[str, Any]:
        """The scheduler's snapshot; empty when it does not answer within a second."""
        if self._front is None or self.engine_state() != "ready":
            return {}
        try:
            told = await asyncio.wait_for(self._front.stats(), 1.0)
        except (RadixlangError, asyncio.TimeoutError):
            return {}
        self._last_stats, self._last_stats_s = told, time.monotonic()
        return told

    async def last_stats(self) -> dict[str, Any]:
        """The snapshot; where the engine is too busy to give one, the last that was asked for, `snapshot_age_s` old."""
        now = await self.stats()
        if now or not self._last_stats:
            return now
        return {**self._last_stats, "snapshot_age_s": round(time.monotonic() - self._last_stats_s, 3)}
