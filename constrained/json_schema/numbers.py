"""Numbers that the engine does not take as they are.

llguidance 1.9.1 takes 1 for a number above 1 and below 1.5: an open bound that is a whole number is lost where the
other one lies in the same unit. So it is moved by less than any answer writes, where a schema holds fractions at all.
It keeps numbers as doubles, so that 2^53 passes for 2^53 + 1, and it ends the process over bounds near -2^63. It reads
decimals of many digits as a neighbour: of 0.09059673990867223 it makes 0.09059673990867224.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Any

from .refusal import too_large

STEP = 1e-9
LARGEST = 10**18
"""Of what the engine counts in; larger ones it refuses, rounds or dies of."""
MAX_BOUND_DIGITS = 308
_LOWER = frozenset(["minimum", "exclusiveMinimum"])
_ROUND = 16_000
"""Multiples of it are doubles of at most 15 digits and zeros, up to LARGEST."""
_FINE = Decimal("1e-6")
_FINEST = Decimal("1e-20")
"""Bounds below _FINE are rounded to so many places, which the engine reads exactly."""
MAX_COUNT = 2**31 - 1
"""Characters, items and properties: more than any answer has."""
MAX_MULTIPLE = 100_000
"""Of what numbers are multiples, without its decimal places, twos and fives: states of an automaton."""
MAX_MULTIPLE_DIGITS = 8
MAX_LOOSER = 100
"""One in so many multiples of what the engine counts in instead is one of the schema's: a judge finds it."""


def is_exact(value: float) -> bool:
    """Whether the engine reads and writes this number, and no other in its place."""
    if abs(value) >= LARGEST:
        return False
    if not isinstance(value, int):
        _, digits, exponent = Decimal(repr(value)).as_tuple()
        whole = int("".join(map(str, digits)))
        # It multiplies or divides the digits by a power of ten, as doubles: exact where both of them are.
        return isinstance(exponent, int) and abs(exponent) <= 22 and int(float(whole)) == whole
    if abs(value) <= 2**53:
        return True
    return int(float(value)) == int(Decimal(repr(float(value)))) == value  # as it counts, and as it writes


def is_exact_bound(keyword: str, value: float) -> bool:
    """As `is_exact`; open bounds of integers are moved by one, which must be a double too."""
    return is_exact(value) and (keyword in ("minimum", "maximum") or abs(value) < 2**53)


def check_reach(keyword: str, value: float, pointer: str) -> None:
    """Raises GrammarTooLarge for a whole bound of more digits than doubles have."""
    if isinstance(value, int) and abs(value) >= 10**MAX_BOUND_DIGITS:
        raise too_large(f"{keyword} has more than {MAX_BOUND_DIGITS} digits", keyword, pointer)


def looser(keyword: str, value: float) -> float | None:
    """A bound that the engine takes and that allows a little more than one that is not exact; None: there is none."""
    if abs(value) >= LARGEST - _ROUND:
        return None
    if value != int(value):
        rounding = ROUND_FLOOR if keyword in _LOWER else ROUND_CEILING
        rounded = Context(prec=15, rounding=rounding).create_decimal(repr(value))
        return float(rounded.quantize(_FINEST, rounding) if abs(rounded) < _FINE else rounded)
    return int(value) - int(value) % _ROUND if keyword in _LOWER else int(value) + -int(value) % _ROUND


def holds_inexact(value: Any) -> bool:
    """Whether some number in a constant is not exact."""
    if isinstance(value, dict):
        return any(map(holds_inexact, value.values()))
    if isinstance(value, list):
        return any(map(holds_inexact, value))
    return isinstance(value, int | float) and not is_exact(value)


def looser_multiple(value: float, pointer: str) -> float:
    """A `multipleOf` that the engine counts in, of which `value` is a multiple: mostly itself.

    Raises GrammarTooLarge where it would need too many digits or states, or where few of its multiples are `value`'s.
    """
    if _is_counted(value):
        return value
    decimal = Decimal(repr(value))
    exponent = decimal.as_tuple().exponent
    grid = float(Decimal((0, (1,), exponent))) if isinstance(exponent, int) else 1.0
    if exponent == 0 or decimal / Decimal(repr(grid)) > MAX_LOOSER or not _is_counted(grid):
        raise too_large(f"multipleOf {value} has too many digits to be enforced", "multipleOf", pointer)
    return grid


def _is_counted(value: float) -> bool:
    """Whether the engine counts in multiples of it."""
    scaled = value
    while scaled < 10**MAX_MULTIPLE_DIGITS and scaled != int(scaled):  # as the engine does it
        scaled *= 10
    core = int(scaled)
    for factor in (2, 5):
        while core % factor == 0:
            core //= factor
    return scaled < 10**MAX_MULTIPLE_DIGITS and core <= MAX_MULTIPLE


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
