"""Log-probabilities of a step, gathered on the device; fetched with its tokens. R rows of logits, N gathered values."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ....kernels import ops
from ..plan import Float32, Int32, Logprobs
from .staging import send


class Asked(NamedTuple):
    """What one sample or score wants of a row of the logits."""

    row: int
    target: int
    """-1: none."""
    num_top: int
    ids: Int32


class Gathered(NamedTuple):
    """On the device: for each of `asked`, its target, its ids and its top tokens, one after the other."""

    asked: list[Asked]
    values_N: Tensor
    top_ids_RK: Tensor

    def tell(self, values_N: Float32, top_ids_RK: NDArray[np.int32]) -> list[Logprobs]:
        """From what was fetched. Equals among the top go by id."""
        told, at = [], 0
        for asked, tops in zip(self.asked, top_ids_RK, strict=True):
            target = float(values_N[at]) if asked.target >= 0 else float("nan")
            mine = values_N[at + 1 : at + 1 + len(asked.ids)].tolist()
            at += 1 + len(asked.ids)
            pairs = sorted(zip((-values_N[at : at + len(tops)]).tolist(), tops.tolist(), strict=True))
            at += len(tops)
            kept = pairs[: max(asked.num_top, 0)]
            told.append(Logprobs(target, [i for _, i in kept], [-value for value, _ in kept], mine))
        return told


def gather(logits_RV: Tensor, asked: list[Asked], targets: Tensor | None) -> Gathered:
    """targets: int32 [len(asked)] on the device where the target is a draw; None: `Asked.target`."""
    device = logits_RV.device
    most = max(min(max(a.num_top for a in asked), logits_RV.shape[1]), 0)
    asked_rows = np.array([a.row for a in asked], np.int32)
    rows_A, targets_A = send([asked_rows, np.array([max(a.target, 0) for a in asked], np.int32)], device)
    top_ids = torch.topk(logits_RV[rows_A.long()], most, dim=-1).indices.int()
    targets = targets_A if targets is None else targets
    # On the device lie the targets, the top tokens of each, and the ids, one behind the other: who wants which of them?
    ids_begin = len(asked) * (1 + most)
    wanted: list[NDArray[np.int64]] = []
    for i, a in enumerate(asked):
        tops = np.arange(len(asked) + i * most, len(asked) + (i + 1) * most)
        wanted.append(np.concatenate([[i], np.arange(ids_begin, ids_begin + len(a.ids)), tops]))
        ids_begin += len(a.ids)
    rows = np.repeat(asked_rows, [len(part) for part in wanted])
    ids = np.concatenate([a.ids for a in asked]).astype(np.int32)
    rows_N, ids_M, wanted_N = send([rows, ids, np.concatenate(wanted).astype(np.int32)], device)
    there = torch.cat([targets, top_ids.flatten(), ids_M])
    return Gathered(asked, ops.logprobs_of(logits_RV, rows_N, there.index_select(0, wanted_N)), top_ids)
