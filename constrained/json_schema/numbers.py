"""Open bounds of numbers.

llguidance 1.9.1 takes 1 for a number above 1 and below 1.5: an open bound that is a whole number is lost where the
other one lies in the same unit. So it is moved by less than any answer writes, where a schema holds fractions at all.
"""

from __future__ import annotations

from typing import Any

STEP = 1e-9


def holds_fraction(node: Any) -> bool:
    """Whether some number in the schema is not whole."""
    if isinstance(node, float):
        return not node.is_integer()
    if isinstance(node, dict):
        return any(map(holds_fraction, node.values()))
    return isinstance(node, list) and any(map(holds_fraction, node))


def open_bound(keyword: str, value: float) -> float:
    """The bound, moved inwards where it is a whole number."""
    if not float(value).is_integer() or abs(value) > 1e6:  # beyond, the step would be lost in the number's own
        return value
    return value + STEP if keyword == "exclusiveMinimum" else value - STEP
