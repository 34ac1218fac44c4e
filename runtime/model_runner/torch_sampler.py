"""A step's samples and scores from its logits. R rows with logits, V vocabulary, S samples, W mask words."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...kernels.reference import sampling
from .plan import Int32, Logprobs, SamplePlan, ScorePlan, StepOutput, StepPlan, uniform


class LogitRows:
    """The logits that a step's samples and scores read, with their log-probabilities where someone asks."""

    def __init__(self, logits_RV: Tensor, rows_R: list[int], plan: StepPlan) -> None:
        self.logits_RV = logits_RV
        self.place = {row: i for i, row in enumerate(rows_R)}
        wanted = {s.row for s in plan.samples if s.num_top >= 0} | {s.row for s in plan.scores}
        rows = sorted(self.place[row] for row in wanted)
        self._logprob_place = {rows_R[i]: j for j, i in enumerate(rows)}
        self._logprobs = sampling.log_softmax(logits_RV[rows]) if rows else logits_RV[:0]

    def logits(self, row: int) -> Tensor:
        return self.logits_RV[self.place[row]]

    def logprobs(self, row: int, target: int, num_top: int, ids: Int32) -> Logprobs:
        """target: -1 for none."""
        logprobs_V = self._logprobs[self._logprob_place[row]]
        top_ids, top_logprobs = sampling.top_logprobs(logprobs_V, max(num_top, 0))
        asked = logprobs_V[_ids(ids, logprobs_V.device)].tolist() if len(ids) else []
        return Logprobs(float(logprobs_V[target]) if target >= 0 else float("nan"), top_ids, top_logprobs, asked)

    def score(self, plan: ScorePlan) -> Logprobs:
        return self.logprobs(plan.row, plan.target, plan.num_top, plan.logprob_ids)


def output_of(logits_RV: Tensor, rows_R: list[int], hidden_RE: Tensor, plan: StepPlan) -> StepOutput:
    """A step's end: masks are filled, tokens drawn, log-probabilities looked up. rows_R: packed rows of the logits."""
    if plan.fill_masks is not None:
        plan.fill_masks()
    rows = LogitRows(logits_RV, rows_R, plan)
    drawn = sample(rows, plan.samples, plan.masks_MW)
    return StepOutput(
        token_ids_S=np.array(drawn, np.int32),
        logprobs_S=[
            rows.logprobs(s.row, token, s.num_top, s.logprob_ids) if s.num_top >= 0 else None
            for s, token in zip(plan.samples, drawn, strict=True)
        ],
        scores_N=[rows.score(s) for s in plan.scores],
        hidden_RE=hidden_RE.float().cpu().numpy(),
    )


def sample(rows: LogitRows, samples: list[SamplePlan], masks_MW: NDArray[np.uint32]) -> list[int]:
    """One token a sample. Plain greedy samples are drawn as one."""
    drawn = [0] * len(samples)
    plain = [i for i, s in enumerate(samples) if _is_plain_greedy(s)]
    if plain:
        places = [rows.place[samples[i].row] for i in plain]
        distinct = places if places != list(range(len(rows.logits_RV))) else slice(None)
        for i, token in zip(plain, torch.argmax(rows.logits_RV[distinct], dim=-1).tolist(), strict=True):
            drawn[i] = token
    masks = torch.from_numpy(masks_MW.view(np.int32)).to(rows.logits_RV.device) if masks_MW.size else None
    for i in sorted(set(range(len(samples))) - set(plain)):
        drawn[i] = _draw(rows.logits(samples[i].row), samples[i], masks)
    return drawn


def _is_plain_greedy(plan: SamplePlan) -> bool:
    is_greedy = plan.temperature == 0.0 or plan.top_k == 1
    return is_greedy and plan.mask_row < 0 and not len(plan.bias_ids) and not len(plan.penalty_ids)


def _draw(logits_V: Tensor, plan: SamplePlan, masks_MW: Tensor | None) -> int:
    device = logits_V.device
    if len(plan.bias_ids) or len(plan.penalty_ids):
        logits_V = sampling.shift(
            logits_V,
            bias_ids=_ids(plan.bias_ids, device),
            bias_values=torch.from_numpy(np.ascontiguousarray(plan.bias_values)).to(device),
            penalty_ids=_ids(plan.penalty_ids, device),
            penalty_counts=_ids(plan.penalty_counts, device),
            frequency=plan.frequency_penalty,
            presence=plan.presence_penalty,
            repetition=plan.repetition_penalty,
        )
    if plan.mask_row >= 0:
        assert masks_MW is not None
        logits_V = logits_V.masked_fill(~sampling.allowed(masks_MW[plan.mask_row], len(logits_V)), float("-inf"))
    return sampling.draw(
        logits_V,
        temperature=plan.temperature,
        top_k=plan.top_k,
        top_p=plan.top_p,
        min_p=plan.min_p,
        random_number=uniform(plan.seed, plan.counter),
    )


def _ids(ids: Int32, device: torch.device) -> Tensor:
    return torch.from_numpy(ids.astype(np.int64)).to(device)
