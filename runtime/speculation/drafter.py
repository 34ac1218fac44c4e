"""Drafter: what proposes tokens. One interface for the radix tree, text that repeats itself, and a small model."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from ...radix_cache.node import Int32
from ..request import Request
from .token_tree import TokenTree


class Draft(NamedTuple):
    """Tokens that may come next. Drafts are guesses: whatever they hold, the output is the same."""

    ids: Int32
    """At least one."""
    kind: str
    """Where it comes from: acceptance is measured for each kind."""
    strength: int = 0
    """How much of the text speaks for it, in tokens; acceptance is measured for classes of it too."""
    parents: Int32 | None = None
    """As in TokenTree: where several continuations are guessed. None: `ids` come one after the other."""

    @property
    def tokens(self) -> TokenTree:
        return TokenTree(self.ids, self.parents)

    def of(self, tokens: TokenTree) -> Draft:
        """The same guess, of these of its tokens."""
        return self._replace(ids=tokens.ids, parents=tokens.parents)


class Track:
    """A running request as drafters see it: its tokens, and what each drafter remembers of it."""

    __slots__ = ("asked_at", "cursors", "group", "ids", "known", "request", "trials")

    def __init__(self, request: Request, ids: Int32, known: int) -> None:
        self.request = request
        self.ids = ids
        """The row that its tokens lie in: ids[: known] are known, what follows may be anything."""
        self.known = known
        self.group: dict[Track, None] = {}
        """The running requests of its fork, itself among them; empty without a fork."""
        self.cursors: dict[str, Any] = {}
        """By drafter; a drafter keeps there what it likes."""
        self.asked_at: dict[str, int] = {}
        """By drafter that is not free: tokens known when it drafted last."""
        self.trials: dict[str, tuple[float, float]] = {}
        """By kind: tokens of this request's drafts that were tried and that were right, the old ones fading."""

    @property
    def temperature(self) -> float:
        return self.request.submit.sampling.temperature


class Drafter(Protocol):
    """Guesses for running requests. Called on the scheduler's thread, between steps."""

    name: str
    is_free: bool
    """Costs no step of any model: may be asked for every token, to learn how often it is right."""

    def propose(self, tracks: list[Track], num_tokens: int) -> list[Draft | None]:
        """A draft of up to `num_tokens` for each, None where it knows nothing. What comes next depends on ids[:known]
        alone; a request may have been retracted, or many tokens may have come, since it was last asked."""
        ...

    def step_seconds(self, num_tracks: int) -> float:
        """What a token for each of `num_tracks` costs, lately; 0 where `is_free`."""
        ...

    def observe(self, request: Request, ids: Int32) -> None:
        """A request has ended with these ids, prompt and output. `ids` is valid during the call."""
        ...

    def forget(self, track: Track) -> None:
        """Its request has left its row."""
        ...

    def flush(self) -> None:
        """Forgets what it remembers of requests that ended."""
        ...


NO_IDS: Int32 = np.zeros(0, np.int32)
