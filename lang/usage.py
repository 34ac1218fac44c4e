"""What a program costs, and the budget that ends it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from ..errors import BudgetExceeded


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Limits of one run, its forks and the programs that it calls included; None is no limit.

    A call that begins above one raises BudgetExceeded.
    """

    requests: int | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None


class Usage:
    """Sums over a run, its forks and the programs that it calls. Tokens are those that the backend reports."""

    def __init__(self, whole: Usage | None = None) -> None:
        """whole: also counts what this one counts."""
        self._whole = whole
        self.requests = 0
        """Generations and selects."""
        self.prompt_tokens = 0
        self.cached_tokens = 0
        """Prompt tokens that needed no computing."""
        self.completion_tokens = 0
        self.round_trips = 0
        """Calls to the backend, those that only fill the cache included."""
        self._lock = threading.Lock()

    @property
    def total_tokens(self) -> int:
        """Prompt and completion tokens."""
        return self.prompt_tokens + self.completion_tokens

    def add(self, meta: dict[str, Any], *, requests: int = 1, round_trips: int = 1) -> None:
        """Counts a finished call by its meta information."""
        with self._lock:
            self.requests += requests
            self.round_trips += round_trips
            self.prompt_tokens += int(meta.get("prompt_tokens") or 0)
            self.cached_tokens += int(meta.get("cached_tokens") or 0)
            for one in meta.get("completions") or [meta]:
                self.completion_tokens += int(one.get("completion_tokens") or 0)
        if self._whole is not None:
            self._whole.add(meta, requests=requests, round_trips=round_trips)

    def take(self, told: dict[str, int]) -> None:
        """Counts a whole run that a server made: what it used, in one round trip."""
        with self._lock:
            self.round_trips += 1
            for name in ("requests", "prompt_tokens", "cached_tokens", "completion_tokens"):
                setattr(self, name, getattr(self, name) + int(told.get(name) or 0))
        if self._whole is not None:
            self._whole.take(told)

    def counts(self) -> dict[str, int]:
        """What is counted, by name."""
        names = ("requests", "prompt_tokens", "cached_tokens", "completion_tokens", "total_tokens", "round_trips")
        return {name: getattr(self, name) for name in names}

    def check(self, budget: Budget | None) -> None:
        """Raises BudgetExceeded if the next call would begin with a limit already reached."""
        if budget is None:
            return
        for name in ("requests", "prompt_tokens", "completion_tokens", "total_tokens"):
            limit = getattr(budget, name)
            spent = getattr(self, name)
            if limit is not None and spent >= limit:
                raise BudgetExceeded(f"the budget of {limit} {name} is spent ({spent} used)")

    def __repr__(self) -> str:
        return (
            f"Usage(requests={self.requests}, prompt_tokens={self.prompt_tokens}, cached_tokens={self.cached_tokens}, "
            f"completion_tokens={self.completion_tokens}, round_trips={self.round_trips})"
        )
