"""The same numbers by the names of SGLang and vLLM, for the dashboards that people have."""

from __future__ import annotations

import re

_OURS = "radixlang:"
_VLLM = {
    "num_running_reqs": "num_requests_running",
    "num_queue_reqs": "num_requests_waiting",
    "token_usage": "kv_cache_usage_perc",
    "prompt_tokens": "prompt_tokens",
    "generation_tokens": "generation_tokens",
    "cached_tokens": "prefix_cache_hits",
    "num_retracted_reqs": "num_requests_preempted",
    "time_to_first_token_seconds": "time_to_first_token_seconds",
    "inter_token_latency_seconds": "inter_token_latency_seconds",
    "e2e_request_latency_seconds": "e2e_request_latency_seconds",
    "queue_time_seconds": "request_queue_time_seconds",
    "prompt_tokens_histogram": "request_prompt_tokens",
    "generation_tokens_histogram": "request_generation_tokens",
}
_NAME = re.compile(r"(?:# (?:HELP|TYPE) )?radixlang:(\w+?)(_total|_bucket|_sum|_count)?(?=[ {])")


def renamed(text: str, servers: tuple[str, ...]) -> str:
    """Prometheus text of ours, and after it what `servers` call the same. SGLang's words are ours; of vLLM's, those
    that mean the same (its queries of the prefix cache are the prompt's tokens).
    """
    told = [text]
    if "sglang" in servers:
        told.append(text.replace(_OURS, "sglang:"))
    if "vllm" in servers:
        told += [line for old in text.splitlines(keepends=True) for line in _as_vllm(old)]
    return "".join(told)


def _as_vllm(line: str) -> list[str]:
    found = _NAME.match(line)
    name = _VLLM.get(found.group(1)) if found is not None else None
    if found is None or name is None:
        return []
    lines = [line.replace(_OURS + found.group(1), f"vllm:{name}", 1)]
    if name == "prompt_tokens":
        lines.append(line.replace(_OURS + found.group(1), "vllm:prefix_cache_queries", 1))
    return lines
