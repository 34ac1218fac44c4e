"""A front that measures what passes through it, keeps its tenants apart, and writes the request's line in the log."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import AsyncGenerator
from typing import Any

from ..front import EngineLink, Front
from ..generate_request import GenerateChunk, GenerateRequest
from ..metrics import Metrics
from ..tokenizer.interface import Tokenizer
from .active import current
from .tenants import Tenants

logger = logging.getLogger("radixlang.request")


class MeteredFront(Front):
    """Counts requests and tokens, times first tokens and the gaps between them."""

    def __init__(
        self, link: EngineLink, tokenizer: Tokenizer, info: dict[str, Any], metrics: Metrics, tenants: Tenants
    ) -> None:
        super().__init__(link, tokenizer, info)
        self._metrics = metrics
        self._tenants = tenants

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[GenerateChunk, None]:
        metrics = self._metrics
        request.rid = request.rid or self.new_id()
        metrics.num_requests.inc()
        active = current.get()
        if active is not None:
            active.rids.add(request.rid)
        if request.constraint is not None:
            metrics.num_so_requests.inc()
        namespace = self._tenants.namespace(request.client, request.namespace)
        if namespace != request.namespace:  # of this attempt: the caller's request may be sent again
            request = dataclasses.replace(request, namespace=namespace)
        started = last = time.perf_counter()
        first: float | None = None
        together = 0
        ended: dict[int, GenerateChunk] = {}
        failure = "client gone"
        try:
            async with contextlib.aclosing(super().generate(request)) as chunks:
                async for chunk in chunks:
                    now = time.perf_counter()
                    if chunk.token_ids and request.stream:
                        if first is None:
                            first = now
                            metrics.time_to_first_token.observe(now - started)
                            last = now
                        elif request.sampling.n == 1:  # what comes together took its time together
                            together += len(chunk.token_ids)
                            if not chunk.is_followed:
                                for _ in range(together):
                                    metrics.inter_token_latency.observe((now - last) / together)
                                together, last = 0, now
                    if chunk.queue_s or chunk.prefill_s:
                        metrics.queue_time.observe(chunk.queue_s)
                        metrics.stage_latency.labels("prefill").observe(chunk.prefill_s)
                        if not request.stream:
                            metrics.time_to_first_token.observe(chunk.queue_s + chunk.prefill_s)
                    if chunk.grammar_s:
                        metrics.grammar_time.observe(chunk.grammar_s)
                    if chunk.finish is not None:
                        ended[chunk.index] = chunk
                    yield chunk
            failure = ""
        except Exception as error:
            failure = getattr(error, "code", None) or type(error).__name__
            raise
        finally:
            if active is not None:
                active.rids.discard(request.rid)
            self._account(request, ended, time.perf_counter() - started, failure)

    def _account(self, request: GenerateRequest, ended: dict[int, GenerateChunk], seconds: float, failure: str) -> None:
        metrics = self._metrics
        prompt = max((c.prompt_len for c in ended.values()), default=0)
        cached = max((c.cached_len for c in ended.values()), default=0)
        completion = sum(c.completion_len for c in ended.values())
        finishes = sorted({c.finish.type for c in ended.values() if c.finish is not None})
        if prompt:
            metrics.prompt_tokens.inc(prompt)
            metrics.cached_tokens.inc(cached)
            metrics.prompt_histogram.observe(prompt)
            metrics.uncached_histogram.observe(prompt - cached)
        metrics.generation_tokens.inc(completion)
        metrics.generation_histogram.observe(completion)
        metrics.e2e_latency.observe(seconds)
        if "abort" in finishes or failure == "client gone":
            metrics.num_aborted_requests.labels("client_gone" if failure else "aborted").inc()
        logger.info(
            "rid=%r prompt=%d cached=%d completion=%d seconds=%.3f finish=%s",
            request.rid, prompt, cached, completion, seconds, failure or ",".join(finishes),
        )  # fmt: skip
