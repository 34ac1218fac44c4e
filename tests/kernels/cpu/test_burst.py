"""A burst of the native step against the same steps one at a time, to the last bit."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from radixlang.errors import InternalError
from radixlang.runtime.model_runner.plan import (
    Burst,
    Logprobs,
    SamplePlan,
    ScorePlan,
    SharedPrefix,
    StepOutput,
    StepPlan,
)

NONE = np.zeros(0, np.int32)
PROMPTS = (70, 5, 130)
"""Lengths; the first 64 tokens of the long ones are the same, in the same slots."""
CONTEXT = 160


def int32(values: Any) -> np.ndarray:
    return np.array(values, np.int32)


class Decoding:
    """Three sequences whose prompts are computed; each step, or burst, goes on from what the last one drew."""

    def __init__(self, executor: Any, samples: list[SamplePlan]) -> None:
        self.executor, self.samples = executor, samples
        ids = np.random.default_rng(3).integers(0, 211, CONTEXT).astype(np.int32)
        self.table = np.random.default_rng(4).permutation(executor.num_slots)[: 3 * CONTEXT].astype(np.int32)
        self.table = self.table.reshape(3, CONTEXT)
        self.table[2, :64] = self.table[0, :64]
        self.lens = int32(PROMPTS)
        self.drawn = [list[int]() for _ in PROMPTS]
        for row, length in enumerate(PROMPTS):
            at = np.arange(length, dtype=np.int32)
            plan = StepPlan(
                0, ids[:length], at, self.table[row, :length], int32([0, length]), int32([length]), int32([row]),
                self.table,
            )  # fmt: skip
            executor.execute(plan)
        self.last = ids[self.lens - 1]
        self.lens -= 1  # the first step computes the last token of the prompts again

    def plan(self, **fields: Any) -> StepPlan:
        rows = np.arange(3, dtype=np.int32)
        order = int32([0, 2, 1])  # those that share are neighbours
        return StepPlan(
            step=1, token_ids_T=self.last[order], positions_T=self.lens[order],
            slots_T=self.table[order, self.lens[order]],
            query_start_B1=np.arange(4, dtype=np.int32), kv_lens_B=self.lens[order] + 1, table_rows_B=order,
            page_table=self.table, groups=[SharedPrefix(0, 2, 64)],
            samples=[self.sample(int(row), place) for place, row in zip(rows, order, strict=True)], **fields,
        )  # fmt: skip

    def sample(self, row: int, place: int) -> SamplePlan:
        sample, drawn = self.samples[row], self.drawn[row]
        if sample.penalty_ids.size:
            known = dict.fromkeys(sample.penalty_ids.tolist(), 0)
            for token in drawn:
                known[token] = known.get(token, 0) + 1
            sample = sample._replace(penalty_ids=int32(list(known)), penalty_counts=int32(list(known.values())))
        return sample._replace(row=place, counter=sample.counter + len(drawn))

    def take(self, output: StepOutput) -> None:
        for place, row in enumerate((0, 2, 1)):
            self.last[row] = output.token_ids_S[place]
            self.drawn[row].append(int(output.token_ids_S[place]))
        self.lens += 1

    def single(self, count: int) -> list[StepOutput]:
        outputs = []
        for _ in range(count):
            outputs.append(self.executor.execute(self.plan()))
            self.take(outputs[-1])
        return outputs

    def burst(self, count: int, end_ids: Any = (), halt: int = 0) -> list[StepOutput]:
        output = self.executor.execute(self.plan(burst=Burst(count, int32(end_ids), int32([halt]))))
        outputs = [output, *output.further]
        for one in outputs:
            self.take(one)
        return outputs


def told(outputs: list[StepOutput]) -> list[tuple[list[int], list[Logprobs | None]]]:
    return [(output.token_ids_S.tolist(), output.logprobs_S) for output in outputs]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_burst_draws_what_single_steps_draw(
    data: st.DataObject, sample_plans: Any, llama: Any, checkpoint: Any, run_model: Callable[..., Any]
) -> None:
    samples = [data.draw(sample_plans) for _ in PROMPTS]
    executor = run_model(checkpoint(llama, weights="Q4_0"), slots=1024)
    wanted = told(Decoding(executor, samples).single(9))
    found = Decoding(executor, samples)
    outputs = found.burst(data.draw(st.integers(1, 6)))
    outputs += found.burst(9 - len(outputs))
    assert repr(told(outputs)) == repr(wanted)  # nan is not equal to itself


def greedy() -> list[SamplePlan]:
    none = np.zeros(0, np.float32)
    return [SamplePlan(0, 0.0, 0, 1.0, 0.0, 0, 0, -1, NONE, none, NONE, NONE, 0.0, 0.0, 1.0, -1, NONE)] * 3


def test_nothing_follows_an_end_or_a_halt(llama: Any, checkpoint: Any, run_model: Callable[..., Any]) -> None:
    executor = run_model(checkpoint(llama), slots=1024)
    wanted = told(Decoding(executor, greedy()).single(8))
    for place in range(3):
        seen = [tokens[place] for tokens, _ in wanted]
        for end in set(seen):
            first = min(i for i, (tokens, _) in enumerate(wanted) if end in tokens)
            assert told(Decoding(executor, greedy()).burst(8, [end, 210])) == wanted[: first + 1]
    assert told(Decoding(executor, greedy()).burst(8, halt=1)) == wanted[:1]


def allowed_after(step: int, row: int, token: int) -> np.ndarray:
    """A mask that depends on all of them: few words or many, so that the head computes some columns or all."""
    rng = np.random.default_rng([step, row, token])
    mask = rng.integers(0, 2**32, 7, dtype=np.uint32)
    mask[-1] &= 0x7FFFF  # 211 tokens
    if rng.random() < 0.5:
        mask[rng.integers(1, 7) :] = 0
    mask[0] |= 1
    return mask


@pytest.mark.parametrize("ends", [8, 3])
def test_masks_are_filled_between_the_steps(
    ends: int, llama: Any, checkpoint: Any, run_model: Callable[..., Any]
) -> None:
    executor = run_model(checkpoint(llama), slots=1024)
    masks = np.zeros((2, 7), np.uint32)

    def fill(step: int, drawn_S: np.ndarray) -> None:
        for row in range(2):
            masks[row] = allowed_after(step, row, int(drawn_S[row]))

    def masked(plan: StepPlan) -> StepPlan:
        samples = [
            sample._replace(mask_row=at if at < 2 else -1, temperature=0.8) for at, sample in enumerate(plan.samples)
        ]
        return replace(plan, samples=samples, masks_MW=masks)

    single, wanted = Decoding(executor, greedy()), []
    drawn_S = NONE
    for step in range(ends):
        fill(step, drawn_S if step else int32([0, 0]))
        output = executor.execute(masked(single.plan()))
        single.take(output)
        drawn_S = output.token_ids_S
        wanted.append(drawn_S.tolist())
    seen: list[list[int]] = []

    def look(drawn_S: np.ndarray) -> bool:
        seen.append(drawn_S.tolist())
        fill(len(seen), drawn_S)
        return len(seen) < ends

    fill(0, int32([0, 0]))
    plan = masked(Decoding(executor, greedy()).plan(burst=Burst(8, NONE, int32([0]), look)))
    output = executor.execute(plan)
    assert [one.token_ids_S.tolist() for one in (output, *output.further)] == wanted
    assert seen == wanted[:7]


def test_what_a_look_raises_is_raised(llama: Any, checkpoint: Any, run_model: Callable[..., Any]) -> None:
    def look(drawn_S: np.ndarray) -> bool:
        raise ArithmeticError("seen")

    executor = run_model(checkpoint(llama), slots=1024)
    decoding = Decoding(executor, greedy())
    with pytest.raises(ArithmeticError, match="seen"):
        executor.execute(decoding.plan(burst=Burst(8, NONE, int32([0]), look)))
    assert len(decoding.burst(3)) == 3


def test_a_burst_that_is_not_sound_is_refused(llama: Any, checkpoint: Any, run_model: Callable[..., Any]) -> None:
    executor = run_model(checkpoint(llama), slots=1024)
    decoding = Decoding(executor, greedy())
    good = decoding.plan(burst=Burst(2, NONE, int32([0])))
    halted = good.burst
    masked = [sample._replace(mask_row=0) for sample in good.samples]
    for change, words in (
        ({"burst": halted._replace(num_steps=0)}, "sizes"),
        ({"burst": halted._replace(num_steps=CONTEXT)}, "past the page table"),
        ({"samples": good.samples[:2]}, "one of each sequence"),
        ({"samples": good.samples[::-1]}, "in order"),
        ({"scores": [ScorePlan(0, -1, 0, NONE)]}, "scores"),
        ({"hidden_rows": int32([0])}, "hidden"),
        ({"samples": masked, "masks_MW": np.full((1, 7), 0xFFFFFFFF, np.uint32)}, "nobody fills"),
    ):
        with pytest.raises(InternalError, match=words):
            executor.execute(replace(good, **change))
    decoding.table[2, PROMPTS[2]] = executor.num_slots
    with pytest.raises(InternalError, match="slot"):
        executor.execute(good)
