"""One snapshot of the scheduler's gauges and counters, by the names of /metrics."""

from __future__ import annotations

from .state import State


def snapshot(state: State) -> dict[str, object]:
    """used = private + locked tree + fenced (0 when idle); evictable is the rest of the tree, leased paths included."""
    cache, pool, counters = state.cache, state.pool, state.counters
    tree = cache.stats()
    used = pool.num_slots - pool.free_len - cache.evictable_len
    prompt = counters.prompt_tokens_total
    verified, proposed = counters.spec_verify_total, counters.spec_proposed_drafts_total
    correct = counters.spec_correct_drafts_total
    gauges: dict[str, object] = {
        "num_running_reqs": len(state.running),
        "num_queue_reqs": len(state.queue),
        "num_grammar_queue_reqs": len(state.compiling),
        "token_usage": used / pool.num_slots if pool.num_slots else 0.0,
        "num_used_tokens": used,
        "max_total_num_tokens": pool.num_slots,
        "kv_available_tokens": pool.free_len,
        "kv_evictable_tokens": cache.evictable_len,
        "cache_hit_rate": counters.cached_tokens_total / prompt if prompt else 0.0,
        "gen_throughput": counters.gen_throughput(state.clock()),
        "avg_spec_accept_length": 1.0 + correct / verified if verified else 0.0,  # SGLang's name here
        "spec_accept_length": 1.0 + correct / verified if verified else 0.0,
        "spec_accept_rate": correct / proposed if proposed else 0.0,
        "num_paused_reqs": sum(request.is_paused for request in state.running),
        "num_kept_streams": len(state.leases) - state.leases.num_pins,
        "num_pins": state.leases.num_pins,
        "num_cache_nodes": tree.num_nodes,
        "lora_pool_utilization": state.adapters.utilization,
        "inserted_tokens_total": tree.inserted_len,
        "evicted_tokens_total": tree.evicted_len,
        "returned_tokens_total": tree.returned_len,
        "duplicate_tokens_total": tree.duplicate_len,
    }
    return gauges | counters.totals()
