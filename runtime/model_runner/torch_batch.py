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
    sequences = [
        Extend(starts[b], starts[b + 1], index(padded_slots(plan.page_table[row, :kv_len]), device))
        for b, (row, kv_len) in enumerate(zip(plan.table_rows_B.tolist(), plan.kv_lens_B.tolist(), strict=True))
    ]
    return PackedBatch(sequences, index(plan.positions_T, device))
