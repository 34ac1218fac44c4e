"""Tracks over plain lists of ids, without a scheduler."""

from __future__ import annotations

import numpy as np
import pytest

from radixlang.runtime.messages import Submit
from radixlang.runtime.model_runner.plan import StepOutput
from radixlang.runtime.request import Request
from radixlang.runtime.sampling_params import SamplingParams
from radixlang.runtime.speculation.drafter import Track


def make(ids, *, prompt_len=None, temperature=0.0, namespace="", group=None, rid="r", width=512) -> Track:
    row = np.full(width, 999, np.int32)
    row[: len(ids)] = ids
    submit = Submit(
        rid=rid,
        token_ids=list(ids),
        sampling=SamplingParams(temperature=temperature, max_new_tokens=64),
        namespace=namespace,
        group=group,
    )
    request = Request(submit, row[: len(ids) if prompt_len is None else prompt_len].copy(), seq=1, now_s=0.0)
    request.sample_head = (temperature, 0, 1.0, 0.0, 0)
    return Track(request, row, len(ids))


@pytest.fixture(scope="session")
def make_track():
    return make


class TableExecutor:
    """Next token = a function of the whole prefix, read through the page table; every slot is checked."""

    vocab_size, hidden_size, device, kv_bytes_per_token = 50, 1, "table", 1

    def __init__(self, num_slots: int, next_token) -> None:
        self.num_slots = num_slots
        self.next_token = next_token
        self.held: list[tuple[int, int] | None] = [None] * num_slots
        self.num_steps = self.num_rows = 0

    def execute(self, plan) -> StepOutput:
        self.num_steps += 1
        self.num_rows += plan.token_ids_T.size
        for token, position, slot in zip(plan.token_ids_T, plan.positions_T, plan.slots_T, strict=True):
            self.held[slot] = (int(token), int(position))
        prefixes = []
        for b, length in enumerate(plan.kv_lens_B.tolist()):
            held = [self.held[slot] for slot in plan.page_table[plan.table_rows_B[b], :length]]
            assert [position for _, position in held] == list(range(length))
            first, end = plan.query_start_B1[b], plan.query_start_B1[b + 1]
            assert plan.positions_T[first:end].tolist() == list(range(length - (end - first), length))
            prefixes += [[token for token, _ in held[: position + 1]] for position in plan.positions_T[first:end]]
        drawn = [self.next_token(prefixes[sample.row], sample) for sample in plan.samples]
        return StepOutput(np.array(drawn, np.int32), [None] * len(drawn), [], np.zeros((0, 1), np.float32))

    def close(self) -> None:
        pass


@pytest.fixture(scope="session")
def make_executor():
    return TableExecutor
