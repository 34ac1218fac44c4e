"""What a graph's run will compute of its prompts, and what the prefix cache will spare, told before it runs."""

from __future__ import annotations

from typing import Any

from .graph import Node, ProgramGraph, is_call

CHARS_PER_TOKEN = 4
"""Of English in common vocabularies; values and templates are not known, so all counts are estimates."""
DEFAULT_GEN_TOKENS = 128


def predicted_prefill(graph: ProgramGraph) -> dict[str, int]:
    """Estimated prompt tokens: `prompt` of all calls together, `computed` where equal beginnings are computed once,
    `saved` between the two."""
    before: dict[int, int] = {}
    prompt = computed = 0
    asked: set[int] = set()
    for node in graph.nodes:
        start = 0 if node.after is None else before[node.after]
        if is_call(node):
            prompt += start
            chain: int | None = node.after
            while chain is not None and chain not in asked:
                asked.add(chain)
                computed += _tokens(graph.nodes[chain])
                chain = graph.nodes[chain].after
        before[node.id] = start + _tokens(node)
    return {"prompt": prompt, "computed": computed, "saved": prompt - computed}


def shared_prefixes(graph: ProgramGraph) -> list[dict[str, Any]]:
    """The places that several branches go on from: node, source, estimated tokens of the text before, branches."""
    found = []
    for node in graph.nodes:
        if node.kind == "fork" and len(node.params["streams"]) > 1:
            tokens, chain = 0, node.after
            while chain is not None:
                tokens += _tokens(graph.nodes[chain])
                chain = graph.nodes[chain].after
            branches = len(node.params["streams"])
            found.append({"node": node.id, "source": node.source, "tokens": tokens, "branches": branches})
    return found


def _tokens(node: Node) -> int:
    if node.kind == "text":
        return -(-len(node.params["text"]) // CHARS_PER_TOKEN)
    if node.kind == "gen":
        limit = node.params.get("max_new_tokens")
        return DEFAULT_GEN_TOKENS if limit is None else int(limit)
    if node.kind == "select":
        return -(-max(map(len, node.params["choices"])) // CHARS_PER_TOKEN)
    return 3 if node.kind in ("role_begin", "role_end") else 0
