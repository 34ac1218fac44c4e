"""Answers of /v1/responses that are kept, so that a later request can go on from them."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

MAX_KEPT = 1024


class Kept(NamedTuple):
    response: dict[str, Any]
    """As it was answered."""
    messages: list[dict[str, Any]]
    """The conversation up to and with the answer, as chat messages."""
    client: str
    """Whose it is; others do not see it."""


class ResponsesStore:
    """The most recent ones, in memory."""

    def __init__(self, max_kept: int = MAX_KEPT) -> None:
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._max_kept = max_kept

    def put(self, kept: Kept) -> None:
        self._kept[kept.response["id"]] = kept
        while len(self._kept) > self._max_kept:
            self._kept.popitem(last=False)

    def get(self, response_id: str, client: str) -> Kept | None:
        kept = self._kept.get(response_id)
        return kept if kept is not None and kept.client == client else None

    def remove(self, response_id: str, client: str) -> bool:
        if self.get(response_id, client) is None:
            return False
        del self._kept[response_id]
        return True
