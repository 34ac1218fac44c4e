"""The last steps of normalising, over the whole schema: what contradicts itself, never ends, leads in circles."""

from __future__ import annotations

from typing import Any

from .circular import unrolled
from .contradictions import without_contradictions
from .productive import check_productive, prune


def settled(root: Any, definitions: dict[str, Any], origins: dict[str, str]) -> tuple[Any, dict[str, Any]]:
    """Root and definitions as the engine takes them; `origins`: where each definition stood.

    Raises UnsatisfiableGrammar where nothing fits, UnsupportedGrammar.
    """
    root, definitions = without_contradictions(root, definitions)
    productive = check_productive(root, definitions, origins)
    if len(productive) < len(definitions):
        root = prune(root, productive)
        definitions = {name: prune(definitions[name], productive) for name in definitions if name in productive}
    return unrolled(root, definitions, origins)
