"""All passes, in their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..graph import ProgramGraph
from .drop_unused import drop_unused
from .fold_text import fold_text
from .hint_ends import hint_ends
from .hint_forks import hint_forks
from .hint_uses import hint_uses
from .join_gens import join_gens
from .merge_equal import merge_equal


def plan(
    graph: ProgramGraph, outputs: Sequence[str] | None = None, temperature: float = 1.0, n: int = 1
) -> ProgramGraph:
    """What is run for `graph`. outputs: the values that are wanted; None: all, and the text.

    temperature, n: what the run says for gens that say nothing themselves.
    """
    if outputs is not None:
        graph = drop_unused(graph, outputs)
    return hint_uses(hint_ends(hint_forks(join_gens(merge_equal(fold_text(_plain(graph)), temperature, n)))))


def _plain(graph: ProgramGraph) -> ProgramGraph:
    """Without what an earlier plan noted in its nodes: it may have been for another run."""
    noted = {"together", "asking", "ready", "last", "next_use"}
    nodes = [
        replace(node, params={k: v for k, v in node.params.items() if k not in noted})
        if noted & set(node.params)
        else node
        for node in graph.nodes
    ]
    return replace(graph, nodes=nodes)
