"""Guessed tokens in bursts of the native step: the same draws, in fewer steps where guesses are right."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from radixlang.errors import ConfigError, InternalError
from radixlang.kernels.cpu.predictor import HabitTables
from radixlang.runtime.model_runner.plan import Burst, Guessing, SamplePlan, StepOutput, StepPlan
from radixlang.runtime.speculation.habit_learning import Text, learn_habits

NONE, NO_VALUES = np.zeros(0, np.int32), np.zeros(0, np.float32)
PROMPT, CONTEXT, VOCAB = 40, 160, 211
GREEDY = SamplePlan(0, 0.0, 0, 1.0, 0.0, 0, 0, -1, NONE, NO_VALUES, NONE, NONE, 0.0, 0.0, 1.0, -1, NONE)


def int32(values: Any) -> np.ndarray:
    return np.array(values, np.int32)


class Alone:
    """One sequence whose prompt is computed; each step, or burst, goes on from what was drawn last."""

    def __init__(self, executor: Any, sample: SamplePlan, *, predictor: Any = None, most: int = 16) -> None:
        self.executor, self.first, self.predictor, self.most = executor, sample, predictor, most
        self.ids = np.random.default_rng(3).integers(0, VOCAB, PROMPT).tolist()
        self.table = np.random.default_rng(4).permutation(executor.num_slots)[:CONTEXT].astype(np.int32)[None]
        self.learned = self.streak = 0
        self.steps = self.guessed = self.right = 0
        at = np.arange(PROMPT - 1, dtype=np.int32)
        ids, slots = int32(self.ids[:-1]), self.table[0, :-1][: PROMPT - 1]
        one = int32([0, PROMPT - 1]), int32([PROMPT - 1]), int32([0])
        executor.execute(StepPlan(0, ids, at, slots, *one, self.table))

    @property
    def drawn(self) -> list[int]:
        return self.ids[PROMPT:]

    def plan(self, **fields: Any) -> StepPlan:
        at, sample = len(self.ids) - 1, self.first
        if sample.penalty_ids.size:
            known = dict.fromkeys(sample.penalty_ids.tolist(), 0)
            for token in self.drawn:
                known[token] = known.get(token, 0) + 1
            sample = sample._replace(penalty_ids=int32(list(known)), penalty_counts=int32(list(known.values())))
        return StepPlan(
            1, int32([self.ids[-1]]), int32([at]), self.table[0, at : at + 1], int32([0, 1]), int32([at + 1]),
            int32([0]), self.table, samples=[sample._replace(counter=sample.counter + len(self.drawn))], **fields,
        )  # fmt: skip

    def single(self, count: int) -> list[StepOutput]:
        outputs = []
        for _ in range(count):
            outputs.append(self.executor.execute(self.plan()))
            self.ids.append(int(outputs[-1].token_ids_S[0]))
        return outputs

    def burst(self, steps: int, rounds: int, end_ids: Any = (), halt: int = 0) -> list[StepOutput]:
        guessing = Guessing(self.predictor, int32(self.ids), self.learned, self.streak, self.most, rounds)
        output = self.executor.execute(self.plan(burst=Burst(steps, int32(end_ids), int32([halt]), None, guessing)))
        outputs, told = [output, *output.further], output.guessed
        assert 1 <= told.num_steps <= min(steps, len(outputs))
        assert len(outputs) == told.num_steps + told.num_right <= rounds
        self.ids += [int(one.token_ids_S[0]) for one in outputs]
        assert told.num_learned == len(self.ids)
        assert told.num_right <= told.num_guessed <= self.most * told.num_tries
        self.learned, self.streak = told.num_learned, told.streak
        self.steps, self.guessed = self.steps + told.num_steps, self.guessed + told.num_guessed
        self.right += told.num_right
        return outputs

    def bursts(self, count: int, steps: int, rounds: int) -> list[StepOutput]:
        outputs: list[StepOutput] = []
        while len(outputs) < count:
            outputs += self.burst(steps, min(rounds, count - len(outputs)))
        return outputs


def told(outputs: list[StepOutput]) -> list[str]:
    return [repr((one.token_ids_S.tolist(), one.logprobs_S)) for one in outputs]  # nan is not equal to itself


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_guesses_right_and_wrong_change_no_draw(
    data: st.DataObject, sample_plans: Any, llama: Any, checkpoint: Any, run_model: Callable[..., Any]
) -> None:
    """The predictor was taught what will be drawn, with mistakes in some places; or has it as a habit."""
    executor = run_model(checkpoint(llama, weights="Q4_0"), slots=1024)
    sample, count = data.draw(sample_plans), 30
    single = Alone(executor, sample)
    wanted = told(single.single(count))
    text = list(single.ids)
    for place in data.draw(st.lists(st.integers(PROMPT, PROMPT + count - 1), max_size=6)):
        text[place] = data.draw(st.integers(0, VOCAB - 1))
    predictor = executor.new_predictor(data.draw(st.sampled_from([None, habits_of(text), habits_of(text[::-1])])))
    for _ in range(data.draw(st.integers(0, 4))):
        predictor.learn(int32(text), 0)
    found = Alone(executor, sample, predictor=predictor, most=data.draw(st.sampled_from([1, 3, 16])))
    assert told(found.bursts(count, data.draw(st.integers(1, 5)), data.draw(st.integers(1, 20)))) == wanted


def habits_of(text: Any) -> HabitTables:
    return learn_habits([Text(int32(text), 1, greedy=True)] * 2, [])


def test_habits_take_few_steps_before_anything_is_learned(
    llama: Any, checkpoint: Any, run_model: Callable[..., Any]
) -> None:
    executor = run_model(checkpoint(llama), slots=1024)
    single = Alone(executor, GREEDY)
    single.single(60)
    found = Alone(executor, GREEDY, predictor=executor.new_predictor(habits_of(single.ids)))
    found.bursts(60, 4, 20)
    assert found.ids == single.ids
    assert found.steps < 40
    without = Alone(executor, GREEDY, predictor=executor.new_predictor())
    without.bursts(60, 4, 20)
    assert without.steps > found.steps


def test_habits_that_do_not_fit_are_soon_left_alone(llama: Any, checkpoint: Any, run_model: Callable[..., Any]) -> None:
    executor = run_model(checkpoint(llama), slots=1024)
    single = Alone(executor, GREEDY)
    single.single(110)
    said = habits_of(single.ids)
    wrong = said.entries_N.copy()
    wrong["token"][wrong["token"] >= 0] = (wrong["token"][wrong["token"] >= 0] + 1) % VOCAB
    found = Alone(executor, GREEDY, predictor=executor.new_predictor(said._replace(entries_N=wrong)), most=1)
    found.bursts(50, 4, 20)
    before = found.guessed
    found.bursts(60, 4, 20)
    assert found.ids == single.ids
    assert found.guessed - before < 20  # of 60 steps


def test_habits_of_other_sizes_are_refused(llama: Any, checkpoint: Any, run_model: Callable[..., Any]) -> None:
    executor = run_model(checkpoint(llama), slots=1024)
    good = habits_of(range(50))
    for bad in (good._replace(entries_N=good.entries_N[:-1]), good._replace(rates_SOL2=good.rates_SOL2[:1].copy())):
        with pytest.raises(ConfigError, match="other sizes"):
            executor.new_predictor(bad)


def taught(executor: Any, text: Any, times: int = 4) -> Any:
    predictor = executor.new_predictor()
    for _ in range(times):
        predictor.learn(int32(text), 0)
    return predictor


def test_what_was_said_before_takes_few_steps(llama: Any, checkpoint: Any, run_model: Callable[..., Any]) -> None:
    executor = run_model(checkpoint(llama), slots=1024)
    single = Alone(executor, GREEDY)
    single.single(60)
    found = Alone(executor, GREEDY, predictor=taught(executor, single.ids))
    found.bursts(60, 4, 20)
    assert found.ids == single.ids
    assert found.steps < 40
    limited = Alone(executor, GREEDY, predictor=taught(executor, single.ids), most=0)
    limited.bursts(60, 4, 20)
    assert (limited.ids, limited.steps, limited.guessed) == (single.ids, 60, 0)


def test_it_learns_while_it_draws(llama: Any, checkpoint: Any, run_model: Callable[..., Any]) -> None:
    executor = run_model(checkpoint(llama), slots=1024)
    predictor = executor.new_predictor()
    first = Alone(executor, GREEDY, predictor=predictor)
    first.bursts(60, 4, 20)
    again = Alone(executor, GREEDY, predictor=predictor)
    again.bursts(60, 4, 20)
    assert again.ids == first.ids
    assert again.right > first.right
    assert again.steps == 60 - again.right


def test_nothing_follows_an_end_or_a_halt(llama: Any, checkpoint: Any, run_model: Callable[..., Any]) -> None:
    executor = run_model(checkpoint(llama), slots=1024)
    single = Alone(executor, GREEDY)
    wanted = told(single.single(12))
    for end in set(single.drawn):
        found = Alone(executor, GREEDY, predictor=taught(executor, single.ids))
        assert told(found.burst(12, 12, [end, 210])) == wanted[: single.drawn.index(end) + 1]
    found = Alone(executor, GREEDY, predictor=taught(executor, single.ids))
    found.burst(12, 12, halt=1)
    assert found.steps == 1


def test_guesses_that_are_not_sound_are_refused(llama: Any, checkpoint: Any, run_model: Callable[..., Any]) -> None:
    executor = run_model(checkpoint(llama), slots=1024)
    alone = Alone(executor, GREEDY)
    predictor = executor.new_predictor()
    good = Guessing(predictor, int32(alone.ids), 0, 0, 16, 8)
    masked = [alone.plan().samples[0]._replace(mask_row=0)]
    for change, more, words in (
        ({"ids": int32(alone.ids[1:])}, {}, "another text"),
        ({"num_learned": PROMPT + 1}, {}, "another text"),
        ({"num_rounds": CONTEXT}, {}, "past the page table"),
        ({"num_rounds": 0}, {}, "sizes"),
        ({"max_guessed": -1}, {}, "too many"),
        ({"predictor": type(predictor)(VOCAB + 1)}, {}, "vocabulary"),
        ({}, {"samples": masked, "masks_MW": np.full((1, 7), 0xFFFFFFFF, np.uint32)}, "masks"),
    ):
        burst = Burst(4, NONE, int32([0]), None, good._replace(**change))
        with pytest.raises(InternalError, match=words):
            executor.execute(replace(alone.plan(burst=burst), **more))


def test_tokens_of_no_vocabulary_are_never_guessed(llama: Any, checkpoint: Any, run_model: Callable[..., Any]) -> None:
    executor = run_model(checkpoint(llama), slots=1024)
    single = Alone(executor, GREEDY)
    single.single(20)
    text = list(single.ids)
    text[PROMPT::2] = [VOCAB, -1, 2**31 - 1] * 3 + [VOCAB]
    found = Alone(executor, GREEDY, predictor=taught(executor, text))
    found.bursts(20, 4, 10)
    assert found.ids == single.ids
