"""Memory is touched before steps need it, and no more of it than they may need soon."""

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from radixlang.runtime.model.config import ModelConfig
from radixlang.runtime.model_runner.native import NativeExecutor
from radixlang.runtime.model_runner.plan import StepPlan

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc/self/smaps tells what was touched")

HUGE = 2 << 20
BLOCK = 64
"""Slots that lie together, of all layers."""
LIMIT_S = 120.0


def run(executor: NativeExecutor, slots: Sequence[int]) -> None:
    """One prompt, a token in each of these slots."""
    size = len(slots)
    executor.execute(
        StepPlan(
            step=0,
            token_ids_T=np.arange(size, dtype=np.int32),
            positions_T=np.arange(size, dtype=np.int32),
            slots_T=np.array(slots, np.int32),
            query_start_B1=np.array([0, size], np.int32),
            kv_lens_B=np.array([size], np.int32),
            table_rows_B=np.zeros(1, np.int32),
            page_table=np.array([slots], np.int32),
        )
    )


def resident(num_bytes: int) -> int:
    """Bytes that are backed of the one anonymous mapping of this size, or of those it was split into.

    A reserve asks for a huge page more than it needs, and only what it needs is advised to be huge.
    """
    found, size = 0, 0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        words = line.split()
        if words[0] == "Size:":
            size = int(words[1]) * 1024
        elif words[0] == "Rss:" and num_bytes <= size <= num_bytes + HUGE:
            found = max(found, int(words[1]) * 1024)
    return found


def wait_for(num_bytes: int, pool_bytes: int) -> int:
    """What is resident once that much is, or when the time is up."""
    end = time.monotonic() + LIMIT_S
    while (found := resident(pool_bytes)) < num_bytes and time.monotonic() < end:
        os.sched_yield()  # the thread that touches runs where nobody else does
    return found


def test_a_part_of_the_pool_is_touched_ahead_of_the_slots_in_use(
    llama: ModelConfig, checkpoint: Any, run_model: Callable[..., NativeExecutor]
) -> None:
    a_block = run_model(checkpoint(llama)).kv_bytes_per_token * BLOCK
    num_blocks = 37 * HUGE // a_block  # a size that no other mapping has
    executor = run_model(checkpoint(llama), slots=num_blocks * BLOCK)
    pool_bytes = -(-num_blocks * a_block // HUGE) * HUGE
    ahead, middle = num_blocks * a_block // 16, num_blocks // 2

    def expect(num_bytes: int) -> None:
        """As much is resident; a huge page at each end of what is asked for may be more of it."""
        found = wait_for(num_bytes, pool_bytes)
        assert num_bytes <= found <= num_bytes + 4 * HUGE

    assert resident(pool_bytes) <= HUGE
    run(executor, range(5))
    expect(a_block + ahead)
    run(executor, [middle * BLOCK, 7])  # slots between may never be used
    expect(2 * (a_block + ahead))
    run(executor, range(3 * BLOCK))  # what came back is there already
    run(executor, [(num_blocks - 1) * BLOCK])  # behind the last there is nothing
    expect(3 * a_block + 2 * ahead)
