"""Decode steps as CUDA graphs: one for each of a few batch sizes, smaller batches padded to the next.

A graph replays what was captured on the same addresses, so its inputs are tensors of its own; the logits of all graphs
are rows of one tensor. Off CUDA the same buckets run without capture: tests see padding and staging as on a GPU.
"""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ....kernels.paged import Paged
from ....kernels.reference.batch import PackedBatch
from ..plan import Int32, StepPlan
from .page_mirror import PageMirror
from .staging import ALIGNED, send

logger = logging.getLogger(__name__)

Forward = Callable[["Bucket"], object]
"""From its inputs to the logits of all its rows."""


def sizes(largest: int) -> list[int]:
    """1, 2, 4, 8, then by 8 to 64, by 16 to 256, by 64 beyond."""
    wanted = [1, 2, 4, *range(8, 64, 8), *range(64, 256, 16), *range(256, largest + 64, 64)]
    return [s for s in wanted if s < largest] + [largest]


class Bucket:
    """Decode steps of up to `size` sequences."""

    def __init__(self, size: int, mirror: PageMirror, spare_slot: int, logits_RV: Tensor) -> None:
        """logits_RV: shared by the buckets, as many rows as the largest has."""
        device = mirror.table.device
        # Rows: token ids, positions, slots, lengths, rows of the page table, slots of adapters.
        idle = np.array([[0], [0], [spare_slot], [1], [mirror.spare_row], [-1]], np.int32)
        self._idle = np.repeat(idle, -(-size // ALIGNED) * ALIGNED, axis=1)
        self._inputs = torch.from_numpy(self._idle.copy()).to(device)
        self.size = size
        self.token_ids, positions, self.slots, lengths, table_rows, self.adapters = self._inputs[:, :size]
        """token_ids: draws of the step before may be written there, between `fill` and `run`."""
        rows = torch.arange(size, dtype=torch.int32, device=device)
        tiles = torch.zeros(0, 5, dtype=torch.int32, device=device)
        # The width of the table sizes the split of attention, once for all.
        longest = mirror.table.shape[1]
        self.batch = PackedBatch([], positions, Paged(mirror.table, rows, lengths, table_rows, tiles, longest, 1))
        self._graph: torch.cuda.CUDAGraph | None = None
        self.logits_RV = logits_RV[:size]

    def capture(self, forward: Forward, pool: Any) -> Any:
        """Runs once to compile and tune, then records. Returns the memory pool, shared by all graphs."""
        forward(self)
        torch.cuda.synchronize()
        self._graph = torch.cuda.CUDAGraph()
        # Other threads may use the device meanwhile: the one that fetches results does.
        with torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
            forward(self)
        return self._graph.pool()

    def fill(self, plan: StepPlan, adapters_B: Int32 | None = None) -> None:
        """adapters_B: the slot of each sequence's adapter, -1: none."""
        count = len(plan.token_ids_T)
        inputs = self._idle.copy()
        inputs[:5, :count] = (plan.token_ids_T, plan.positions_T, plan.slots_T, plan.kv_lens_B, plan.table_rows_B)
        if adapters_B is not None:
            inputs[5, :count] = adapters_B
        self._inputs.copy_(send([inputs], self._inputs.device)[0])

    def run(self, forward: Forward) -> Tensor:
        """Logits [size, V], valid until the next run of any bucket."""
        if self._graph is None:
            forward(self)
        else:
            self._graph.replay()
        return self.logits_RV


class DecodeGraphs:
    """The buckets, largest captured first so that the smaller ones find their memory there."""

    def __init__(
        self, largest: int, mirror: PageMirror, spare_slot: int, logits_RV: Tensor, forward: Forward, *, captures: bool
    ) -> None:
        """logits_RV: as many rows as the largest batch has."""
        started = time.perf_counter()
        self._buckets = [Bucket(size, mirror, spare_slot, logits_RV) for size in sizes(largest)]
        if captures:
            pool: Any = None
            gc.collect()
            for bucket in reversed(self._buckets):
                pool = bucket.capture(forward, pool)
            logger.info(
                "%d CUDA graphs captured in %.1f s, batches up to %d",
                len(self._buckets), time.perf_counter() - started, largest,
            )  # fmt: skip

    @property
    def largest(self) -> int:
        return self._buckets[-1].size

    def bucket(self, count: int) -> Bucket:
        """The smallest that holds `count` sequences."""
        return next(b for b in self._buckets if b.size >= count)
