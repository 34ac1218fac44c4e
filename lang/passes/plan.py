"""All passes, in their order."""

from __future__ import annotations

from collections.abc import Sequence

from ..graph import ProgramGraph
from .drop_unused import drop_unused
from .fold_text import fold_text
from .hint_forks import hint_forks
from .merge_equal import merge_equal


def plan(
    graph: ProgramGraph, outputs: Sequence[str] | None = None, temperature: float = 1.0, n: int = 1
) -> ProgramGraph:
    """What is run for `graph`. outputs: the values that are wanted; None: all, and the text.

    temperature, n: what the run says for gens that say nothing themselves.
    """
    if outputs is not None:
        graph = drop_unused(graph, outputs)
    return hint_forks(merge_equal(fold_text(graph), temperature, n))
