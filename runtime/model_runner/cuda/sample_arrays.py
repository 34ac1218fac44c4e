"""A step's samples as flat arrays for `kernels.ops.sample_rows`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ....kernels import ops
from ..plan import SamplePlan, StepPlan, uniform
from .staging import send


def draw(logits_RV: Tensor, place: dict[int, int], plan: StepPlan) -> Tensor:
    """Tokens of the plan's samples, int32 [S], on the logits' device. place: row of the logits of a packed row."""
    samples = plan.samples
    device = logits_RV.device
    rows_S = np.array([place[s.row] for s in samples], np.int32)
    if all(map(_is_plain_greedy, samples)):
        if np.array_equal(rows_S, np.arange(len(logits_RV))):
            return torch.argmax(logits_RV, dim=-1).int()
        (there,) = send([rows_S], device)
        return torch.argmax(logits_RV, dim=-1).int()[there.long()]
    bias_ends = np.cumsum([0, *(len(s.bias_ids) for s in samples)])
    penalty_ends = np.cumsum([0, *(len(s.penalty_ids) for s in samples)])
    nothing: list[int] = []
    arrays: list[NDArray[Any]] = [
        np.array([uniform(s.seed, s.counter) if s.temperature > 0 else 0.0 for s in samples], np.float64),
        np.array(
            [
                (s.temperature, s.top_p, s.min_p, s.frequency_penalty, s.presence_penalty, s.repetition_penalty)
                for s in samples
            ],
            np.float32,
        ),
        np.concatenate([nothing, *(s.bias_values for s in samples)]).astype(np.float32),
        rows_S,
        np.column_stack(
            [
                [s.top_k for s in samples],
                [s.mask_row for s in samples],
                bias_ends[:-1],
                bias_ends[1:],
                penalty_ends[:-1],
                penalty_ends[1:],
            ]
        ).astype(np.int32),
        np.concatenate([nothing, *(s.bias_ids for s in samples)]).astype(np.int32),
        np.concatenate([nothing, *(s.penalty_ids for s in samples)]).astype(np.int32),
        np.concatenate([nothing, *(s.penalty_counts for s in samples)]).astype(np.int32),
        plan.masks_MW.view(np.int32),
    ]
    random, numbers, bias_values, rows, integers, bias_ids, penalty_ids, penalty_counts, masks = send(arrays, device)
    return ops.sample_rows(
        logits_RV, rows, numbers, integers, random, masks_MW=masks, bias_ids=bias_ids, bias_values=bias_values,
        penalty_ids=penalty_ids, penalty_counts=penalty_counts,
    )  # fmt: skip


def draw_from_all(logits_RV: Tensor) -> None:
    """A draw and a log-probability of every row: compiles what later steps run, and takes the memory they take."""
    rows, vocab = logits_RV.shape
    device = logits_RV.device
    rows_R = torch.arange(rows, dtype=torch.int32, device=device)
    numbers_R6 = torch.tensor([[1.0, 0.9, 0.0, 0.0, 0.0, 1.0]] * rows, device=device)
    integers_R6 = torch.zeros(rows, 6, dtype=torch.int32, device=device)
    masks_MW = torch.full((1, -(-vocab // 32)), -1, dtype=torch.int32, device=device)
    none = rows_R[:0]
    ops.sample_rows(
        logits_RV, rows_R, numbers_R6, integers_R6, torch.zeros(rows, dtype=torch.float64, device=device),
        masks_MW=masks_MW, bias_ids=none, bias_values=none.float(), penalty_ids=none, penalty_counts=none,
    )  # fmt: skip
    ops.logprobs_of(logits_RV, rows_R, rows_R)


def _is_plain_greedy(plan: SamplePlan) -> bool:
    is_greedy = plan.temperature == 0.0 or plan.top_k == 1
    return is_greedy and plan.mask_row < 0 and not len(plan.bias_ids) and not len(plan.penalty_ids)
