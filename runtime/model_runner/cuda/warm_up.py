"""Steps of every kind that serving launches, run once at start: so no request waits for a compiler.

Triton compiles a kernel for each class of sizes: of rows (powers of two), of rows decoded beside prompts (they decide
the split of attention), with and without drafts that branch, with and without adapters. Cuda's libraries, pinned memory
and the allocator's blocks are made on the way.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..plan import TREE_ROWS, Int32, SamplePlan, StepPlan

_NO_IDS = np.zeros(0, np.int32)
DRAFTS = 3
"""Rows of a sequence whose drafts branch; at least two."""


def doublings(first: int, largest: int) -> list[int]:
    """first, 2 first, 4 first … and the largest."""
    found = [first << i for i in range(largest.bit_length()) if first << i < largest]
    return [*found, largest] if largest >= first else []


def plans(
    *, num_rows: int, width: int, spare_slot: int, largest_chunk: int, vocab_size: int, takes_trees: bool
) -> Iterator[StepPlan]:
    """num_rows, width: of the scheduler's page table. Tokens are written to the spare slot alone."""
    table = np.full((num_rows, width), spare_slot, np.int32)
    rows = min(largest_chunk, num_rows * width)

    def step(counts: list[int], tree: bool = False) -> StepPlan:
        return step_of(table, spare_slot, counts, vocab_size, tree=tree)

    for chunk in doublings(2, rows):
        yield step([min(width, chunk - at) for at in range(0, chunk, width)])
    # Beside a prompt, the sequences that are decoded are no graph; alone they are one.
    for count in doublings(1, num_rows - 1):
        yield step([*[1] * count, 2])
    for count in doublings(1, num_rows):
        yield step([1] * count)
    if takes_trees and width >= DRAFTS:
        yield step([DRAFTS], tree=True)
        yield step([DRAFTS] * min(num_rows, 2 * TREE_ROWS), tree=True)


def step_of(table: Int32, slot: int, counts: list[int], vocab_size: int, *, tree: bool) -> StepPlan:
    """Sequences of so many rows each, drawn with every filter, ids and log-probabilities asked for."""
    starts = np.cumsum([0, *counts], dtype=np.int32)
    total = int(starts[-1])
    bits = np.array([1, *(1 | 1 << row for row in range(1, DRAFTS))] * len(counts), np.uint32)
    depths = np.array([0, *[1] * (DRAFTS - 1)] * len(counts), np.int32)
    positions = np.arange(total, dtype=np.int32) - np.repeat(starts[:-1], counts)
    return StepPlan(
        step=0,
        token_ids_T=np.zeros(total, np.int32),
        positions_T=depths if tree else positions,
        slots_T=np.full(total, slot, np.int32),
        query_start_B1=starts,
        kv_lens_B=np.array(counts, np.int32),
        table_rows_B=np.arange(len(counts), dtype=np.int32),
        page_table=table,
        samples=[_sample(int(end) - 1) for end in starts[1:]],
        masks_MW=np.full((1, -(-vocab_size // 32)), 0xFFFFFFFF, np.uint32),
        tree_T=bits if tree else np.zeros(0, np.uint32),
    )


def _sample(row: int) -> SamplePlan:
    some = np.array([0, 1], np.int32)
    return SamplePlan(
        row=row, temperature=1.0, top_k=2, top_p=0.9, min_p=0.01, seed=0, counter=0, mask_row=0,
        bias_ids=some, bias_values=np.ones(2, np.float32), penalty_ids=some, penalty_counts=some,
        frequency_penalty=0.5, presence_penalty=0.5, repetition_penalty=1.1, num_top=1, logprob_ids=_NO_IDS,
    )  # fmt: skip
