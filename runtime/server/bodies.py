"""What the bodies of all requests being answered may take of the memory, together.

A body is charged as it comes, so that one that was announced and never sent takes nothing, with what its values take
once they are read: a body of empty lists is thirty times its size as objects. What does not fit is refused at once
(503): two bodies that wait for each other's room would wait for ever.
"""

from __future__ import annotations

from .http import HttpError

NUM_LARGEST = 8
"""Bodies of the largest size that fit beside each other."""
LEAST_BYTES = 64 << 20
"""What fits whatever the largest size is."""
VALUE_BYTES = 48
"""Of a value in an array or object, as Python keeps it."""
_CLOSE = {"connection": "close"}


class BodyBudget:
    """Shared by all requests of a server. max_body: bytes of the largest one."""

    def __init__(self, max_body: int) -> None:
        self.limit = max(max_body * NUM_LARGEST, LEAST_BYTES)
        self.held = 0


class HeldBody:
    """What one request took of the budget: `num_bytes`."""

    __slots__ = ("_budget", "num_bytes")

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self.num_bytes = 0

    def take(self, piece: bytes) -> None:
        """Charges the next piece. Raises HttpError: 503 where other bodies leave no room, 413 for too many values."""
        cost = len(piece) + VALUE_BYTES * (piece.count(b",") + piece.count(b"[") + piece.count(b"{"))
        budget = self._budget
        if self.num_bytes + cost > budget.limit:
            raise HttpError(413, "the body holds too many values", code="request_too_large", headers=_CLOSE)
        if budget.held + cost > budget.limit:
            told = "too many large bodies are being answered; try again"
            raise HttpError(503, told, code="too_many_bodies", kind="server_error", headers=_CLOSE)
        budget.held += cost
        self.num_bytes += cost

    def give_back(self) -> None:
        """At the request's end; twice is once."""
        self._budget.held -= self.num_bytes
        self.num_bytes = 0
