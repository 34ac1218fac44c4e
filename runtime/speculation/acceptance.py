"""How likely a drafted token is right: measured for each kind of draft, and for each request.

A draft is tried token by token until one is wrong, so what is estimated is the chance that a token is right when those
before it were. Old trials fade. Free drafts are tried even when they are not computed: the token that came says whether
the first guess was right.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...radix_cache.node import Int32
from .drafter import Draft, Track
from .token_tree import Trial

Float64 = NDArray[np.float64]

_CLASS_FADES = 0.99  # a trial: about a hundred count
_REQUEST_FADES = 0.9  # about ten count
_CLASS_WEIGHT = 4.0  # trials of its own that a request's class is worth
_GUESS_WEIGHT = 4.0  # trials that the guess for a class is worth
_EDGES = (2, 3, 4, 6, 9, 17)  # strengths at which classes begin
_GUESSES = {"tree": 0.8, "draft": 0.6}
_BRANCH = " branch"  # behind a kind: its other ways, where the first one went wrong
_STRENGTH_GUESSES = (0.3, 0.45, 0.55, 0.65, 0.75, 0.85)

_CLASS_OF = [sum(strength >= edge for edge in _EDGES) for strength in range(_EDGES[-1] + 1)]


def _spread(parents: Int32, rate: float, branch: float) -> Float64:
    """Chances in a tree: of a token's first child `rate`, of the next one `branch` of what is left, and so on; never
    more than that of the child before, so that those that are tried are a tree again."""
    chances = np.empty(parents.size)
    left: dict[int, float] = {}
    last: dict[int, float] = {}
    for place, parent in enumerate(parents.tolist()):
        above = float(chances[parent]) if parent >= 0 else 1.0
        open_ = left.get(parent, 1.0)
        mine = open_ * (branch if parent in left else rate)
        left[parent] = open_ - mine
        chances[place] = last[parent] = min(above * mine, last.get(parent, 1.0))
    return chances


class _Rate:
    """Fading counts of one class; the guess is there as trials that fade like others."""

    __slots__ = ("right", "tried")

    def __init__(self, guess: float) -> None:
        self.tried = _GUESS_WEIGHT
        self.right = guess * _GUESS_WEIGHT

    def add(self, num_right: int, num_tried: int) -> None:
        fade = _CLASS_FADES**num_tried
        self.right = self.right * fade + num_right
        self.tried = self.tried * fade + num_tried

    @property
    def value(self) -> float:
        return self.right / self.tried


class Acceptance:
    """One an engine. Greedy and sampled requests are classes of their own."""

    def __init__(self) -> None:
        self._rates: dict[tuple[str, int, bool], _Rate] = {}

    def chances(self, track: Track, draft: Draft) -> Float64:
        """[len(draft.ids)]: chance that token j is right and all before it, on the way to it, are."""
        tried, right = track.trials.get(draft.kind, (0.0, 0.0))
        greedy = track.temperature == 0
        if draft.parents is not None:
            branch = self._rate(draft.kind + _BRANCH, 0, greedy).value
            return _spread(draft.parents, self.chance(track, draft.kind), branch)
        num_tokens = draft.ids.size
        rates = np.empty(num_tokens)
        strength, last = draft.strength, _EDGES[-1]
        for j in range(num_tokens):
            rate = self._rate(draft.kind, _CLASS_OF[min(strength + j, last)] if strength else 0, greedy).value
            rates[j] = (right + _CLASS_WEIGHT * rate) / (tried + _CLASS_WEIGHT)
            if not strength or strength + j >= last:
                rates[j:] = rates[j]
                break
        return np.multiply.accumulate(rates)

    def chance(self, track: Track, kind: str) -> float:
        """Chance that a token of such a draft is right, before there is one."""
        tried, right = track.trials.get(kind, (0.0, 0.0))
        rate = self._rate(kind, 0, track.temperature == 0).value
        return (right + _CLASS_WEIGHT * rate) / (tried + _CLASS_WEIGHT)

    def add(self, track: Track, draft: Draft, trial: Trial) -> None:
        """The first `right` of `tried` tokens were right: all, or the next was wrong."""
        num_tried, num_right, branch = trial
        greedy, last = track.temperature == 0, _EDGES[-1]
        if branch is not None:
            self._rate(draft.kind + _BRANCH, 0, greedy).add(int(branch), 1)
        if not num_tried:
            return
        counted = min(num_right + 1, num_tried)
        if draft.strength:
            for j in range(counted):
                place = _CLASS_OF[min(draft.strength + j, last)]
                self._rate(draft.kind, place, greedy).add(int(j < num_right), 1)
        else:
            self._rate(draft.kind, 0, greedy).add(num_right, counted)
        tried, right = track.trials.get(draft.kind, (0.0, 0.0))
        fade = _REQUEST_FADES**counted
        track.trials[draft.kind] = (tried * fade + counted, right * fade + num_right)

    def _rate(self, kind: str, strength_class: int, greedy: bool) -> _Rate:
        key = (kind, strength_class, greedy)
        rate = self._rates.get(key)
        if rate is None:
            guess = _STRENGTH_GUESSES[strength_class - 1] if strength_class else _GUESSES.get(kind, 0.5)
            rate = self._rates[key] = _Rate(guess)
        return rate
