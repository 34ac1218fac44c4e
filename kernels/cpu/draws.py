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


class _Flat:
    """Arrays one after the other."""

    def __init__(self) -> None:
        self._parts: list[NDArray[Any]] = []
        self.size = 0

    def add(self, part: NDArray[Any]) -> tuple[int, int]:
        """The slice of the flat array that it is."""
        begin, count = self.size, len(part)
        if count:
            self._parts.append(part)
            self.size += count
        return begin, count

    def joined(self, dtype: type[np.generic]) -> NDArray[Any]:
        return np.concatenate(self._parts).astype(dtype, copy=False) if self._parts else np.zeros(0, dtype)


class Draws:
    """Of one plan."""

    def __init__(self, samples: Sequence[SamplePlan], scores: Sequence[ScorePlan]) -> None:
        bias_ids, bias_values, penalty_ids, penalty_counts, logprob_ids = (_Flat() for _ in range(5))
        pack, nothing = structs.SAMPLE.pack, (0, 0, 0, 0, 0, 0)
        records, max_top = [], -1
        for sample in samples:  # all fields, in their order
            row, temperature, top_k, top_p, min_p, seed, counter, mask_row = sample[:8]
            biased, values, penalised, counts, frequency, presence, repetition, num_top, asked = sample[8:]
            slices = nothing
            if len(biased) or len(penalised) or len(asked):
                slices = (*bias_ids.add(biased), *penalty_ids.add(penalised), *logprob_ids.add(asked))
                bias_values.add(values)
                penalty_counts.add(counts)
            if num_top > max_top:
                max_top = num_top
            head = (seed, counter, row, top_k, mask_row, num_top, temperature, top_p, min_p)
            records.append(pack(*head, frequency, presence, repetition, 0, *slices))
        self.samples = np.frombuffer(b"".join(records), np.uint8)
        records = []
        for score in scores:
            max_top = max(max_top, score.num_top, 0)
            records.append(
                structs.SCORE.pack(score.row, score.target, score.num_top, 0, *logprob_ids.add(score.logprob_ids))
            )
        self.scores = np.frombuffer(b"".join(records), np.uint8)
        self.max_top: int = max_top
        """Likeliest tokens that one of them asks for, at most; -1: nobody asks for log-probabilities."""
        self.bias_ids, self.bias_values = bias_ids.joined(np.int32), bias_values.joined(np.float32)
        self.penalty_ids, self.penalty_counts = penalty_ids.joined(np.int32), penalty_counts.joined(np.int32)
        self.logprob_ids = logprob_ids.joined(np.int32)
