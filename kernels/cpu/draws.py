"""Samples and scores of a plan as the native step reads them: records, and flat arrays for what is ragged.

Most samples have nothing ragged: such a record is one call of `struct.pack`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import structs

if TYPE_CHECKING:
    SamplePlan = Any  # runtime/model_runner/plan.py: the layer above; its fields are read
    ScorePlan = Any


_NO_IDS = np.zeros(0, np.int32)
_NO_VALUES = np.zeros(0, np.float32)
_NO_SLICES = (0, 0, 0, 0, 0, 0)


class Draws:
    """Of one plan."""

    def __init__(self, samples: Sequence[SamplePlan], scores: Sequence[ScorePlan]) -> None:
        self.bias_ids = self.penalty_ids = self.penalty_counts = self.logprob_ids = _NO_IDS
        self.bias_values = _NO_VALUES
        self.max_top = -1
        """Likeliest tokens that one of them asks for, at most; -1: nobody asks for log-probabilities."""
        ragged = {i: s for i, s in enumerate(samples) if len(s.bias_ids) or len(s.penalty_ids) or len(s.logprob_ids)}
        begin = sum(len(sample.logprob_ids) for sample in ragged.values())
        self.samples = self._samples(samples, self._slices(ragged, scores) if ragged or scores else {})
        self.scores = self._scores(scores, begin)

    def _slices(self, ragged: dict[int, SamplePlan], scores: Sequence[ScorePlan]) -> dict[int, tuple[int, ...]]:
        """Fills the flat arrays; where the parts of each sample lie in them."""
        slices: dict[int, tuple[int, ...]] = {}
        num_biases = num_penalties = num_asked = 0
        for place, sample in ragged.items():
            biased, penalised, asked = len(sample.bias_ids), len(sample.penalty_ids), len(sample.logprob_ids)
            slices[place] = num_biases, biased, num_penalties, penalised, num_asked, asked
            num_biases, num_penalties, num_asked = num_biases + biased, num_penalties + penalised, num_asked + asked
        every = ragged.values()
        self.bias_ids = _joined([s.bias_ids for s in every], np.int32)
        self.bias_values = _joined([s.bias_values for s in every], np.float32)
        self.penalty_ids = _joined([s.penalty_ids for s in every], np.int32)
        self.penalty_counts = _joined([s.penalty_counts for s in every], np.int32)
        self.logprob_ids = _joined([s.logprob_ids for s in (*every, *scores)], np.int32)
        return slices

    def _samples(self, samples: Sequence[SamplePlan], slices: dict[int, tuple[int, ...]]) -> NDArray[np.uint8]:
        pack, records = structs.SAMPLE.pack, []
        for place, sample in enumerate(samples):  # all fields, in their order
            row, temperature, top_k, top_p, min_p, seed, counter, mask_row = sample[:8]
            frequency, presence, repetition, num_top = sample[12:16]
            if num_top > self.max_top:
                self.max_top = num_top
            head = (seed, counter, row, top_k, mask_row, num_top, temperature, top_p, min_p)
            records.append(pack(*head, frequency, presence, repetition, 0, *slices.get(place, _NO_SLICES)))
        return np.frombuffer(b"".join(records), np.uint8)

    def _scores(self, scores: Sequence[ScorePlan], begin: int) -> NDArray[np.uint8]:
        """begin: how many logprob_ids are those of samples."""
        records = []
        for score in scores:
            count = len(score.logprob_ids)
            records.append(structs.SCORE.pack(score.row, score.target, score.num_top, 0, begin, count))
            begin += count
            self.max_top = max(self.max_top, score.num_top, 0)
        return np.frombuffer(b"".join(records), np.uint8)


def _joined(parts: list[NDArray[Any]], dtype: type[np.generic]) -> NDArray[Any]:
    return np.concatenate(parts).astype(dtype, copy=False) if parts else np.zeros(0, dtype)
