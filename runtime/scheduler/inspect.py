"""Answers to questions about the cache that change nothing: what is known of a prompt, what the tree looks like."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import ModelNotFound
from ...radix_cache.tree import RadixTree
from ..lora.names import namespace_of
from .state import State

_MAX_NODES = 4096
_PREVIEW = 16  # first tokens of a node that are told


def answer(state: State, action: str, data: dict[str, Any]) -> dict[str, object] | None:
    """None: that is no such question."""
    if action == "cache_lookup":
        return _lookup(state, data)
    if action == "cache_tree":
        return _tree(state, int(data.get("max_nodes") or 256))
    if action == "kv_events":
        return _kv_events(state, data)
    return None


def _lookup(state: State, data: dict[str, Any]) -> dict[str, object]:
    """How much of a prompt the cache holds now."""
    ids = np.array(data["token_ids"], np.int32)
    try:
        adapter = state.adapters.of(str(data.get("adapter") or ""))
    except ModelNotFound as error:
        return {"success": False, "error": error.message, "code": error.code}
    namespace = namespace_of(str(data.get("namespace") or ""), adapter)
    match = state.cache.match(ids, end=ids.size, namespace=namespace, step=state.step)
    return {
        "prompt_tokens": int(ids.size),
        "cached_tokens": match.length,
        "uncached_tokens": int(ids.size) - match.length,
        "estimated_prefill_ms": round(1e3 * (ids.size - match.length) / state.queue.prefill_tokens_per_s, 3),
    }


def _tree(state: State, max_nodes: int) -> dict[str, object]:
    """Nodes from the roots down, the widest first; `parent` and `id` are stable while the node lives."""
    cache = state.cache
    nodes: list[dict[str, object]] = []
    stats = cache.stats()._asdict()
    if isinstance(cache, RadixTree):
        level = [(name, root) for name, root in cache.roots.items() if root.children]
        limit = min(max(1, max_nodes), _MAX_NODES)
        for namespace, node in level:  # grows while it is walked: breadth first
            if len(nodes) >= limit:
                break
            nodes.append(
                {
                    "id": node.id,
                    "parent": node.parent.id if node.parent is not None else None,
                    "namespace": namespace,
                    "start": node.start,
                    "num_tokens": int(node.key.size),
                    "token_ids": node.key[:_PREVIEW].tolist(),
                    "num_requests": node.lock,
                    "hits": node.hits,
                    "last_use": node.last_use,
                    "is_pinned": bool(node.pins),
                    "is_leased": bool(node.leases),
                    "num_children": len(node.children),
                }
            )
            level += [(namespace, child) for child in node.children.values()]
    return {"nodes": nodes, "num_nodes": stats["num_nodes"], "stats": stats, "page_size": cache.page_size}


def _kv_events(state: State, data: dict[str, Any]) -> dict[str, object]:
    if state.kv_events is None:
        return {
            "success": False,
            "code": "kv_events_off",
            "error": "this server publishes no KV events; start it with --kv-events-config '{}'",
        }
    return state.kv_events.since(int(data.get("since") or 0), int(data.get("max_batches") or 256))
