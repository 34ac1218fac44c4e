"""Guesses within bursts: what an executor's predictors know, and what it costs to try what they say.

Where one request runs alone, its steps are short and read every weight for one row: a second row is nearly free there,
so that even a guess is worth a row that is right one time in eight. Drafters in Python cost more than such guesses
bring, and so the executor guesses by itself, between the steps of a burst. What is kept here is one predictor for each
namespace, which learns from whatever was prompted and answered there, and how far each running request was learned.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from ...radix_cache.node import Int32
from ..model_runner.plan import Guessed, Guessing, Predictor, Predicts
from ..request import Request

if TYPE_CHECKING:
    from ...kernels.cpu.predictor import HabitTables

_MAX_NAMESPACES = 8  # a predictor takes a MiB


class Predictions:
    """One an engine; everything on the scheduler's thread."""

    def __init__(self, executor: Predicts, *, max_guessed: int, habits: HabitTables | None = None) -> None:
        """habits: what the model usually says, which every namespace begins with."""
        self._executor = executor
        self._habits = habits
        self.max_guessed = min(max_guessed, executor.max_guessed)
        """Tokens in one step, at most."""
        self._predictors: OrderedDict[str, Predictor] = OrderedDict()
        self._cursors: dict[Request, tuple[int, int]] = {}
        """Of running requests: tokens that were learned, and the last of these in a row that were guessed right."""

    def guessing(self, request: Request, ids: Int32, num_rounds: int) -> Guessing:
        """For a burst of this request, which holds `ids`, that draws so many tokens at most."""
        num_learned, streak = self._cursors.get(request, (0, 0))
        if num_learned > ids.size:  # some were taken back
            num_learned, streak = ids.size, 0
        return Guessing(self._predictor(request), ids, num_learned, streak, self.max_guessed, num_rounds)

    def guessed(self, request: Request, result: Guessed) -> None:
        """What came of its burst."""
        self._cursors[request] = result.num_learned, result.streak

    def observe(self, request: Request, ids: Int32) -> None:
        """The request ended with these ids, prompt and output."""
        num_learned, _ = self._cursors.get(request, (0, 0))
        if num_learned < ids.size:  # a stop string leaves some out
            self._predictor(request).learn(ids, num_learned)

    def forget(self, request: Request) -> None:
        """It leaves its row."""
        self._cursors.pop(request, None)

    def flush(self) -> None:
        """Forgets what requests said that ended."""
        self._predictors.clear()

    def _predictor(self, request: Request) -> Predictor:
        name = request.namespace
        predictor = self._predictors.get(name)
        if predictor is None:
            predictor = self._predictors[name] = self._executor.new_predictor(self._habits)
            if len(self._predictors) > _MAX_NAMESPACES:
                self._predictors.popitem(last=False)
        self._predictors.move_to_end(name)
        return predictor
