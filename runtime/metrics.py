"""Counters, gauges and histograms of one server, with SGLang's words, as Prometheus text.

Requests and HTTP are counted here, in the API process. What the scheduler counts comes as one snapshot a scrape, so
that its gauges belong together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_GAUGES = {
    "num_running_reqs": "Requests in the running batch.",
    "num_queue_reqs": "Requests that wait for admission.",
    "num_grammar_queue_reqs": "Requests that wait for their grammar.",
    "token_usage": "Share of the KV slots in use.",
    "num_used_tokens": "KV slots held by requests.",
    "max_total_num_tokens": "KV slots.",
    "cache_hit_rate": "Share of prompt tokens that were cached.",
    "kv_available_tokens": "Free KV slots.",
    "kv_evictable_tokens": "KV slots of cached prefixes that nobody holds.",
    "gen_throughput": "Generated tokens a second, lately.",
    "spec_accept_length": "Tokens that a step yielded which tried a draft.",
    "spec_accept_rate": "Share of the drafted tokens that were right.",
    "num_paused_reqs": "Running requests whose reader lags.",
    "num_kept_streams": "Paths that programs and sessions hold.",
    "num_pins": "Pinned prefixes.",
    "num_cache_nodes": "Nodes of the radix tree.",
    "lora_pool_utilization": "Adapters that compute, of those that may at once.",
    "num_retracted_reqs": "Requests that gave their KV back and wait again.",
}
_COUNTERS = {
    "evicted_tokens": "Cached tokens that were dropped for others.",
    "inserted_tokens": "Tokens that entered the prefix cache.",
    "returned_tokens": "Tokens that were evicted, and computed again for somebody who needed them.",
    "duplicate_tokens": "Tokens that were computed although the cache had them by then.",
    "forced_tokens": "Output tokens that a grammar forced.",
    "spec_verify": "Drafts that were tried.",
    "spec_proposed_drafts": "Drafted tokens.",
    "spec_correct_drafts": "Drafted tokens that were right: each is a step less.",
    "mask_seconds": "Spent on filling the masks of constraints.",
    "num_grammar": "Grammars compiled.",
    "num_grammar_cache_hit": "Requests whose grammar was compiled already.",
    "num_grammar_timeout": "Grammars refused for their cost.",
    "kv_leaked_tokens": "KV slots that had no owner: a bug when not 0.",
}
_LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)
_TOKENS = (1, 4, 16, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072)


class _Snapshot:
    """A collector of the engine's last snapshot."""

    def __init__(self) -> None:
        self.values: Mapping[str, Any] = {}

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        for name, text in _GAUGES.items():
            if name in self.values:
                yield GaugeMetricFamily(f"radixlang:{name}", text, value=float(self.values[name]))
        for name, text in _COUNTERS.items():
            value = self.values.get(name, self.values.get(f"{name}_total"))
            if value is not None:
                yield CounterMetricFamily(f"radixlang:{name}", text, value=float(value))


class Metrics:
    """One server's numbers; a registry of its own, so that servers in one process do not meet."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a time beside every counter, which nobody charts
        registry = self._registry = CollectorRegistry()
        self._engine = _Snapshot()
        registry.register(self._engine)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"radixlang:{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"radixlang:{name}", text, labels, buckets=buckets, registry=registry)

        self.prompt_tokens = counter("prompt_tokens", "Prompt tokens.")
        self.generation_tokens = counter("generation_tokens", "Generated tokens.")
        self.cached_tokens = counter("cached_tokens", "Prompt tokens found in the prefix cache.")
        self.num_requests = counter("num_requests", "Requests (each with its n generations).")
        self.num_aborted_requests = counter("num_aborted_requests", "Requests that were aborted.", "reason")
        for reason in ("aborted", "client_gone"):  # there from the start: a rate needs a zero before the first
            self.num_aborted_requests.labels(reason)
        self.num_so_requests = counter("num_so_requests", "Requests with a constraint.")
        self.http_requests = counter("http_requests", "HTTP requests.", "route", "method")
        self.http_responses = counter("http_responses", "HTTP answers.", "status")
        self.ignored_fields = counter("ignored_fields", "Body fields that were not honoured.", "field")
        self.http_requests_active = Gauge(
            "radixlang:http_requests_active", "HTTP requests being answered.", registry=registry
        )
        self.engine_last_step_age = Gauge(
            "radixlang:engine_last_step_age_seconds", "Since the engine last said anything.", registry=registry
        )
        self.model_loaded = Gauge("radixlang:model_loaded", "1: serves.", ["model"], registry=registry)
        self.time_to_first_token = histogram(
            "time_to_first_token_seconds", "From arrival to the first token.", _LATENCY
        )
        self.inter_token_latency = histogram("inter_token_latency_seconds", "Between tokens of a stream.", _LATENCY)
        self.e2e_latency = histogram("e2e_request_latency_seconds", "From arrival to the end.", _LATENCY)
        self.queue_time = histogram("queue_time_seconds", "Waiting for admission.", _LATENCY)
        self.stage_latency = histogram("per_stage_req_latency_seconds", "Of one stage.", _LATENCY, "stage")
        self.grammar_time = histogram("grammar_compilation_time_seconds", "Waiting for the grammar.", _LATENCY)
        self.prompt_histogram = histogram("prompt_tokens_histogram", "Prompt tokens a request.", _TOKENS)
        self.uncached_histogram = histogram(
            "uncached_prompt_tokens_histogram", "Prompt tokens that were computed.", _TOKENS
        )
        self.generation_histogram = histogram("generation_tokens_histogram", "Generated tokens a request.", _TOKENS)
        self.startup_time = Gauge("radixlang:startup_time_seconds", "Of one phase.", ["phase"], registry=registry)

    def render(self, engine: Mapping[str, Any]) -> bytes:
        """Prometheus text; `engine`: the scheduler's snapshot, empty while there is none."""
        self._engine.values = engine
        return generate_latest(self._registry)
