"""Steps of every kind that serving launches, run once at start: so no request waits for a compiler.

Triton compiles a kernel for each class of sizes: of rows (powers of two), of rows decoded beside prompts (they decide
the split of attention), with and without drafts that branch, with and without adapters. Cuda's libraries, pinned memory
and the allocator's blocks are made on the way.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..plan import CAUSAL, TREE_ROWS, Int32, SamplePlan, StepPlan

_NO_IDS = np.zeros(0, np.int32)
_FEW, _MANY = 3, TREE_ROWS
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

    def step(counts: list[int], *, cached: int = 0, tree: bool = False) -> StepPlan:
        return step_of(table, spare_slot, counts, vocab_size, cached=cached, tree=tree)

    for chunk in doublings(2, rows):
        yield step([min(width, chunk - at) for at in range(0, chunk, width)])
    # Few rows behind a long prefix share the processors.
    for chunk in (2, min(rows, 2 * TREE_ROWS + 1)):
        if chunk < width:
            yield step([chunk], cached=width - chunk)
    # Beside a prompt, the sequences that are decoded are no graph; alone they are one.
    for count in doublings(1, num_rows - 1):
        yield step([*[1] * count, 2])
    for count in doublings(1, num_rows):
        yield step([1] * count)
    for drafts in (_FEW, _MANY):
        if takes_trees and drafts < width:
            yield step([drafts], tree=True)
            yield step([drafts], cached=width - drafts, tree=True)


def step_of(
    table: Int32, slot: int, counts: list[int], vocab_size: int, *, cached: int = 0, tree: bool = False
) -> StepPlan:
    """Sequences of so many rows each behind `cached` slots, drawn with every filter, ids and log-probabilities asked
    for. tree: all rows of a sequence but its first follow the first."""
    starts = np.cumsum([0, *counts], dtype=np.int32)
    total = int(starts[-1])
    own = np.arange(total, dtype=np.int32) - np.repeat(starts[:-1], counts)
    bits_T = np.int64(1) | np.left_shift(1, own.astype(np.int64))
    return StepPlan(
        step=0,
        token_ids_T=np.zeros(total, np.int32),
        positions_T=cached + (np.minimum(own, 1) if tree else own),
        slots_T=np.full(total, slot, np.int32),
        query_start_B1=starts,
        kv_lens_B=np.array(counts, np.int32) + np.int32(cached),
        table_rows_B=np.arange(len(counts), dtype=np.int32),
        page_table=table,
        samples=[_sample(int(end) - 1) for end in starts[1:]],
        masks_MW=np.full((1, -(-vocab_size // 32)), 0xFFFFFFFF, np.uint32),
        tree_T=bits_T.astype(np.uint32) if tree else CAUSAL,
    )


def _sample(row: int) -> SamplePlan:
    some = np.array([0, 1], np.int32)
    return SamplePlan(
        row=row, temperature=1.0, top_k=2, top_p=0.9, min_p=0.01, seed=0, counter=0, mask_row=0,
        bias_ids=some, bias_values=np.ones(2, np.float32), penalty_ids=some, penalty_counts=some,
        frequency_penalty=0.5, presence_penalty=0.5, repetition_penalty=1.1, num_top=1, logprob_ids=_NO_IDS,
    )  # fmt: skip
