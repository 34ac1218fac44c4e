"""Draws of the native step against the plan's definition in plain Python, and the head under a mask."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from radixlang.errors import InternalError
from radixlang.runtime.model_runner.plan import Logprobs, SamplePlan, ScorePlan, StepPlan, uniform

VOCAB = 211
GREEDY = SamplePlan(
    row=0, temperature=0.0, top_k=0, top_p=1.0, min_p=0.0, seed=0, counter=0, mask_row=-1,
    bias_ids=np.zeros(0, np.int32), bias_values=np.zeros(0, np.float32),
    penalty_ids=np.zeros(0, np.int32), penalty_counts=np.zeros(0, np.int32),
    frequency_penalty=0.0, presence_penalty=0.0, repetition_penalty=1.0, num_top=-1,
    logprob_ids=np.zeros(0, np.int32),
)  # fmt: skip
EVERYTHING = np.arange(VOCAB, dtype=np.int32)


class Prompt:
    """A prompt of 9 tokens, computed once a call."""

    def __init__(self, executor: Any) -> None:
        self.executor = executor
        self.ids = np.arange(20, 29, dtype=np.int32)
        self.table = np.arange(9, dtype=np.int32)[None]

    def plan(
        self,
        samples: list[SamplePlan],
        *,
        masks: np.ndarray | None = None,
        scores: Any = (),
        fill: Callable[[], None] | None = None,
    ) -> StepPlan:
        plan = StepPlan(
            0, self.ids, self.table[0], self.table[0], np.array([0, 9], np.int32), np.array([9], np.int32),
            np.zeros(1, np.int32), self.table, samples=samples, scores=list(scores), fill_masks=fill,
        )  # fmt: skip
        if masks is not None:
            plan.masks_MW = masks
        return plan

    def step(self, samples: list[SamplePlan], masks: np.ndarray | None = None, scores: Any = ()) -> Any:
        return self.executor.execute(self.plan(samples, masks=masks, scores=scores))

    def draw(self, *samples: SamplePlan, masks: np.ndarray | None = None) -> list[int]:
        return self.step(list(samples), masks).token_ids_S.tolist()

    def logits(self, row: int) -> np.ndarray:
        """Up to a constant, which no draw depends on unless there are penalties."""
        [score] = self.step([], scores=[ScorePlan(row, -1, 0, EVERYTHING)]).scores_N
        return np.array(score.id_logprobs, np.float64)


@pytest.fixture
def prompt(llama: Any, checkpoint: Any, run_model: Callable[..., Any]) -> Prompt:
    return Prompt(run_model(checkpoint(llama, weights="Q8_0")))


def mask_of(*allowed: int) -> np.ndarray:
    mask = np.zeros((1, (VOCAB + 31) // 32), np.uint32)
    for token in allowed:
        mask[0, token // 32] |= np.uint32(1 << token % 32)
    return mask


def by_definition(logits: np.ndarray, sample: SamplePlan) -> int:
    """The rule of plan.uniform and SamplingParams, one token at a time."""
    values = logits.copy()
    for token, bias in zip(sample.bias_ids, sample.bias_values, strict=True):
        values[token] += bias
    if sample.temperature == 0:
        return int(np.argmax(values))
    p = np.exp((values - values.max()) / sample.temperature)
    kept = sorted((t for t in range(len(p)) if p[t] > 0), key=lambda t: (-values[t], t))
    if sample.top_k > 0:
        kept = kept[: sample.top_k]
    total, running, nucleus = sum(p[t] for t in kept), 0.0, []
    for token in kept:
        if nucleus and running >= sample.top_p * total:
            break
        nucleus.append(token)
        running += p[token]
    kept = sorted(t for t in nucleus if p[t] >= sample.min_p * p[nucleus[0]])
    wanted, running = uniform(sample.seed, sample.counter) * sum(p[t] for t in kept), 0.0
    for token in kept:
        running += p[token]
        if running > wanted:
            return token
    return kept[-1]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    row=st.integers(0, 8),
    temperature=st.sampled_from([0.0, 0.3, 1.0, 4.0]),
    top_k=st.sampled_from([0, 1, 2, 40, 210, 500]),
    top_p=st.sampled_from([1.0, 0.95, 0.5, 0.01]),
    min_p=st.sampled_from([0.0, 0.05, 0.9]),
    seed=st.integers(0, 2**64 - 1),
    counter=st.integers(0, 5),
    biases=st.dictionaries(st.integers(0, VOCAB - 1), st.sampled_from([-math.inf, -2.0, 3.0]), max_size=4),
)
def test_a_draw_is_what_the_plan_defines(prompt: Prompt, row: int, biases: dict[int, float], **params: Any) -> None:
    sample = GREEDY._replace(
        row=row,
        bias_ids=np.array(list(biases), np.int32),
        bias_values=np.array(list(biases.values()), np.float32),
        **params,
    )
    assert prompt.draw(sample) == [by_definition(prompt.logits(row), sample)]


def test_draws_of_many_samples_do_not_depend_on_each_other(prompt: Prompt) -> None:
    samples = [
        GREEDY._replace(row=i % 9, temperature=1.0, seed=i, counter=i % 3, top_k=(0, 5)[i % 2], top_p=0.9)
        for i in range(150)
    ]
    together = prompt.draw(*samples)
    assert together == [prompt.draw(sample)[0] for sample in samples]
    assert len(set(together)) > 20


def test_draws_follow_the_probabilities(prompt: Prompt) -> None:
    p = np.exp(prompt.logits(8))
    drawn = np.bincount(
        prompt.draw(*(GREEDY._replace(row=8, temperature=1.0, seed=i) for i in range(4000))), minlength=VOCAB
    )
    likely = p * 4000 > 5
    assert ((drawn - 4000 * p) ** 2 / (4000 * p))[likely].sum() < 2 * likely.sum() + 20


@pytest.mark.parametrize("num_allowed", [1, 3, 8, 100])
def test_a_mask_allows_only_its_tokens_whichever_way_the_head_is_computed(prompt: Prompt, num_allowed: int) -> None:
    """num_top -1: few allowed columns are computed alone; 0 wants the whole distribution. The same bits either way."""
    rng = np.random.default_rng(num_allowed)
    allowed = rng.choice(VOCAB, num_allowed, replace=False).tolist()
    for seed in range(20):
        for temperature in (0.0, 1.0):
            alone, whole = (
                GREEDY._replace(row=seed % 9, temperature=temperature, seed=seed, mask_row=0, num_top=num_top)
                for num_top in (-1, 0)
            )
            banned = GREEDY._replace(
                row=seed % 9,
                temperature=temperature,
                seed=seed,
                bias_ids=np.setdiff1d(EVERYTHING, allowed).astype(np.int32),
                bias_values=np.full(VOCAB - num_allowed, -np.inf, np.float32),
            )
            [a], [b] = prompt.draw(alone, masks=mask_of(*allowed)), prompt.draw(whole, masks=mask_of(*allowed))
            assert a == b == prompt.draw(banned)[0]
            assert a in allowed


@pytest.mark.parametrize("waits", [False, True])
def test_masks_that_another_thread_fills_are_waited_for_behind_the_layers(prompt: Prompt, waits: bool) -> None:
    masks, seen = mask_of(), []

    def fill() -> None:
        seen.append(prompt.executor.phase_seconds())
        masks[:] = mask_of(77)

    plan = prompt.plan([GREEDY._replace(row=8, mask_row=0)], masks=masks, fill=fill)
    prompt.draw(GREEDY)
    plan.fill_waits = waits
    assert prompt.executor.execute(plan).token_ids_S.tolist() == [77]
    [phases] = seen
    assert (phases["down"] > 0, phases["head"] == 0) == (True, waits)  # not waiting: those of the step before


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
def test_a_step_that_waits_for_masks_gives_what_one_with_masks_gives(prompt: Prompt, data: st.DataObject) -> None:
    """Free and constrained rows, penalties that come late, log-probabilities, scores and hidden states."""
    seed = data.draw(st.integers(0, 2**32))
    samples, masks = [], []
    for row in data.draw(st.lists(st.integers(0, 8), min_size=1, max_size=12)):
        mask_row = -1
        if data.draw(st.booleans()):
            mask_row = len(masks)
            masks.append(mask_of(*data.draw(st.sets(st.integers(0, VOCAB - 1), min_size=1, max_size=60)))[0])
        num_top = data.draw(st.integers(-1, 3))
        temperature = data.draw(st.sampled_from([0.0, 0.8]))
        sample = GREEDY._replace(row=row, temperature=temperature, seed=seed, mask_row=mask_row, num_top=num_top)
        if data.draw(st.booleans()):
            counts = {"penalty_ids": EVERYTHING[:5], "penalty_counts": np.arange(5, dtype=np.int32)}
            sample = sample._replace(**counts, repetition_penalty=1.5)
        samples.append(sample)
    filled = np.array(masks, np.uint32).reshape(len(masks), (VOCAB + 31) // 32)
    more = {"scores": [ScorePlan(4, 3, 2, EVERYTHING[:2])], "hidden_rows": np.array([0, 8], np.int32)}
    at_once = prompt.executor.execute(replace(prompt.plan(samples, masks=filled), **more))

    known = [GREEDY._replace(row=sample.row) for sample in samples]
    late = replace(prompt.plan(known, masks=np.zeros_like(filled)), **more)

    def fill() -> None:
        late.masks_MW[:] = filled
        late.samples[:] = samples

    late.fill_masks, late.fill_waits = fill, True
    in_two = prompt.executor.execute(late)
    assert in_two.token_ids_S.tolist() == at_once.token_ids_S.tolist()
    assert (in_two.logprobs_S, in_two.scores_N) == (at_once.logprobs_S, at_once.scores_N)
    assert np.array_equal(in_two.hidden_RE, at_once.hidden_RE)


def test_what_goes_wrong_between_the_halves_is_told_and_the_plan_runs_again(prompt: Prompt) -> None:
    masks = mask_of(77)

    def fail() -> None:
        raise ZeroDivisionError

    plan = prompt.plan([GREEDY._replace(row=8, mask_row=0)], masks=masks, fill=fail)
    plan.fill_waits = True
    with pytest.raises(ZeroDivisionError):
        prompt.executor.execute(plan)
    plan.fill_masks = lambda: plan.samples.append(GREEDY._replace(row=9))
    with pytest.raises(InternalError, match="sample of a row"):
        prompt.executor.execute(plan)
    del plan.samples[1]
    plan.fill_masks = None
    assert prompt.executor.execute(plan).token_ids_S.tolist() == [77]


def test_penalties_look_at_counts(llama: Any, checkpoint: Any, run_model: Callable[..., Any]) -> None:
    """Raw logits cannot be read, so they are found by what they take: a tie of two tokens, broken by each penalty."""
    model = checkpoint(llama)
    _, head = model._tensors["lm_head.weight"]
    head[8] = head[5]  # tokens 5 and 8 always have the same logit
    prompt = Prompt(run_model(model))
    both = {"row": 3, "bias_ids": np.array([5, 8], np.int32), "bias_values": np.full(2, 100, np.float32)}
    assert prompt.draw(GREEDY._replace(**both)) == [5]
    counts = {"penalty_ids": np.array([5, 8], np.int32), "penalty_counts": np.array([2, 1], np.int32)}
    assert prompt.draw(GREEDY._replace(**both, **counts, frequency_penalty=0.5)) == [8]
    assert prompt.draw(GREEDY._replace(**both, **counts, presence_penalty=0.5)) == [5]  # both were seen
    only_prompt = {"penalty_ids": np.array([5], np.int32), "penalty_counts": np.array([0], np.int32)}
    assert prompt.draw(GREEDY._replace(**both, **only_prompt, frequency_penalty=2.0, presence_penalty=2.0)) == [5]
    assert prompt.draw(GREEDY._replace(**both, **only_prompt, repetition_penalty=1.2)) == [8]
    assert prompt.draw(GREEDY._replace(**both, **only_prompt, repetition_penalty=0.8)) == [5]


def test_log_probabilities_are_of_the_raw_distribution(prompt: Prompt) -> None:
    logits = prompt.logits(4)
    best = np.lexsort((EVERYTHING, -logits))[:7]
    ids = np.array([200, 3, 3], np.int32)
    sample = GREEDY._replace(
        row=4, temperature=2.0, seed=9, num_top=7, logprob_ids=ids, bias_ids=ids[:1], bias_values=np.full(1, 50, "f4")
    )
    output = prompt.step([GREEDY, sample], scores=[ScorePlan(4, 3, 2, ids[:1]), ScorePlan(4, -1, 0, ids[:0])])
    drawn, first, last = output.logprobs_S[1], *output.scores_N
    assert output.logprobs_S[0] is None
    assert output.token_ids_S[1] == 200
    assert drawn == Logprobs(
        pytest.approx(logits[200]), best.tolist(), pytest.approx(logits[best]), pytest.approx(logits[ids])
    )
    assert first == Logprobs(
        pytest.approx(logits[3]), best[:2].tolist(), pytest.approx(logits[best[:2]]), pytest.approx([logits[200]])
    )
    assert math.isnan(last.logprob)
    assert np.exp(logits).sum() == pytest.approx(1.0, abs=1e-5)


def test_equal_logits_go_to_the_lowest_id(llama: Any, checkpoint: Any, run_model: Callable[..., Any]) -> None:
    model = checkpoint(replace(llama, vocab_size=5000))
    _, head = model._tensors["lm_head.weight"]
    head[:] = head[0]
    prompt = Prompt(run_model(model))
    assert prompt.draw(GREEDY, GREEDY._replace(bias_ids=EVERYTHING, bias_values=np.full(VOCAB, -1, "f4"))) == [0, VOCAB]
    assert prompt.draw(GREEDY._replace(temperature=1.0, top_k=3, seed=1, counter=7))[0] in (0, 1, 2)
    [logprobs] = prompt.step([GREEDY._replace(num_top=4)]).logprobs_S
    assert logprobs.top_ids == [0, 1, 2, 3]


@pytest.mark.parametrize("broken", ["model.norm.weight", "model.embed_tokens.weight"])
def test_weights_that_are_no_numbers_still_draw_some_allowed_token(
    broken: str, llama: Any, checkpoint: Any, run_model: Callable[..., Any]
) -> None:
    """All logits NaN, or those of a tenth of the vocabulary: what no order holds for must not leave an array."""
    model = checkpoint(llama)
    format_, values = model._tensors[broken]
    values = values.copy()
    values[3::10] = np.nan
    model._tensors[broken] = (format_, values)
    prompt = Prompt(run_model(model))
    params = [
        {"temperature": t, "top_k": k, "top_p": p, "min_p": m}
        for t in (0.0, 1e-300, 1e-8, 1.0, 1e30)
        for k in (0, 1, 40)
        for p in (1.0, 0.9, 1e-6)
        for m in (0.0, 0.1)
    ]
    samples = [GREEDY._replace(row=i % 9, seed=i, **p) for i, p in enumerate(params)]
    assert all(0 <= token < VOCAB for token in prompt.draw(*samples))
    allowed = list(range(1, VOCAB, 3))
    masked = [s._replace(mask_row=0) for s in samples]
    assert set(prompt.draw(*masked, masks=mask_of(*allowed))) <= set(allowed)
    assert all(token in (17, 200) for s in masked for token in prompt.draw(s, masks=mask_of(17, 200)))
    output = prompt.step([s._replace(num_top=5) for s in samples], scores=[ScorePlan(0, 1, 5, EVERYTHING)])
    tops = [p.top_ids for p in output.logprobs_S] + [output.scores_N[0].top_ids]
    assert all(len(set(ids)) == 5 and set(ids) <= set(range(VOCAB)) for ids in tops)
