"""A plan's sequences as tensors for plain torch."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...kernels.reference.batch import Extend, PackedBatch, padded_slots
from .plan import StepPlan


def index(array: NDArray[np.int32], device: torch.device) -> Tensor:
    """int64, as torch indexes."""
    return torch.from_numpy(array.astype(np.int64)).to(device)


def packed_batch(plan: StepPlan, device: torch.device) -> PackedBatch:
    """Each sequence with the slots that it reads."""
    starts = plan.query_start_B1.tolist()
    sequences = []
    for b, (row, kv_len) in enumerate(zip(plan.table_rows_B.tolist(), plan.kv_lens_B.tolist(), strict=True)):
        first, end = starts[b], starts[b + 1]
        slots_L = index(padded_slots(plan.page_table[row, :kv_len]), device)
        sequences.append(Extend(first, end, slots_L, _tree(plan, first, end, device), kv_len - (end - first)))
    return PackedBatch(sequences, index(plan.positions_T, device))


def _tree(plan: StepPlan, first: int, end: int, device: torch.device) -> Tensor | None:
    """[N, N] bool of a sequence whose drafts branch."""
    if not plan.tree_T.size or not plan.tree_T[first]:
        return None
    bits_NN = plan.tree_T[first:end, None] >> np.arange(end - first, dtype=np.uint32) & 1
    return torch.from_numpy(bits_NN.astype(bool)).to(device)
