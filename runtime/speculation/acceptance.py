"""How likely a drafted token is right: measured for each kind of draft, and for each request.

A draft is tried token by token until one is wrong, so what is estimated is the chance that a token is right when those
before it were. Old trials fade. Free drafts are tried even when they are not computed: the token that came says whether
the first guess was right.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .drafter import Draft, Track

Float64 = NDArray[np.float64]

_CLASS_FADES = 0.99  # a trial: about a hundred count
_REQUEST_FADES = 0.9  # about ten count
_CLASS_WEIGHT = 4.0  # trials of its own that a request's class is worth
_GUESS_WEIGHT = 4.0  # trials that the guess for a class is worth
_EDGES = (2, 3, 4, 6, 9, 17)  # strengths at which classes begin
_GUESSES = {"tree": 0.8, "draft": 0.6}
_STRENGTH_GUESSES = (0.3, 0.45, 0.55, 0.65, 0.75, 0.85)

_CLASS_OF = [sum(strength >= edge for edge in _EDGES) for strength in range(_EDGES[-1] + 1)]


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
        """[len(draft.ids)]: chance that the first j + 1 tokens are all right."""
        tried, right = track.trials.get(draft.kind, (0.0, 0.0))
        greedy = track.temperature == 0
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

    def add(self, track: Track, draft: Draft, num_right: int, num_tried: int) -> None:
        """The first `num_right` of `num_tried` tokens were right: all, or the next was wrong."""
        if not num_tried:
            return
        greedy, last = track.temperature == 0, _EDGES[-1]
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
