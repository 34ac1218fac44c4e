"""The scheduler's page table on the device, kept equal for the rows that a step reads, by as few bytes as may be."""

from __future__ import annotations

import numpy as np
import torch

from ..plan import Int32, StepPlan
from .staging import send


class PageMirror:
    """At least a row more than the scheduler's table: padded sequences of a graph read it; its slots are spare."""

    def __init__(self, num_rows: int, width: int, spare_slot: int, device: torch.device) -> None:
        self.table = torch.full((num_rows + 1, width), spare_slot, dtype=torch.int32, device=device)
        self.spare_row, self.width = num_rows, width
        self._shadow: Int32 = np.full((num_rows, width), spare_slot, np.int32)
        self._device = device

    def fits(self, page_table: Int32) -> bool:
        rows, width = page_table.shape
        return bool(rows <= self.spare_row and width <= self.width)

    def update(self, plan: StepPlan) -> None:
        """Afterwards the first kv_lens entries of the plan's rows are on the device, in the order of its stream.

        A step's own slots are scattered; what else differs (a prefix found in the cache, slots that the tree replaced)
        is found by comparing with what was sent before, and sent by rows.
        """
        counts = np.diff(plan.query_start_B1)
        rows_T = np.repeat(plan.table_rows_B, counts)
        bases_T = np.repeat(plan.kv_lens_B - plan.query_start_B1[1:], counts)
        columns_T = bases_T + np.arange(len(rows_T), dtype=np.int32)
        rows, columns, slots = send([rows_T, columns_T, plan.page_table[rows_T, columns_T]], self._device)
        self.table.index_put_((rows, columns), slots)
        self._shadow[rows_T, columns_T] = plan.page_table[rows_T, columns_T]
        stale = [
            (row, length)
            for row, length in zip(plan.table_rows_B.tolist(), plan.kv_lens_B.tolist(), strict=True)
            if not np.array_equal(self._shadow[row, :length], plan.page_table[row, :length])
        ]
        if stale:
            index = np.array([row for row, _ in stale], np.int32)
            width = max(length for _, length in stale)
            fresh = plan.page_table[index, :width]
            self._shadow[index, :width] = fresh
            there, values = send([index, fresh], self._device)
            self.table[:, :width].index_copy_(0, there.long(), values)
