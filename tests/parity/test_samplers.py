"""The native step's sampler beside the reference's and beside the rules of plan.py, on the same logits.

The model is made so that a token's logits are written in its weights: layers add nothing, the embedding of token t is
the t-th unit vector, so the head's column t is the row of logits that follows t.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
from safetensors.numpy import save_file

from radixlang.errors import UnsupportedModel
from radixlang.runtime.config import EngineConfig
from radixlang.runtime.model_runner.native import NativeExecutor
from radixlang.runtime.model_runner.plan import Logprobs, SamplePlan, ScorePlan, StepOutput, StepPlan, uniform
from radixlang.runtime.model_runner.torch_executor import TorchExecutor
from radixlang.runtime.weights.open import open_checkpoint

VOCAB, ROWS, WORDS = 1031, 64, 33
CLOSE = 1e-6
"""Sums in another order and another exponential may decide differently within this share of the total."""
NONE = np.zeros(0, np.int32)


def rounded(values: np.ndarray) -> np.ndarray:
    """To what bfloat16 holds: no executor rounds these again."""
    return (np.asarray(values, np.float32).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def written_logits() -> np.ndarray:
    """[ROWS, VOCAB]: spread, flat, peaked, tied, all equal, all negative."""
    random = np.random.default_rng(11)
    logits = random.standard_normal((ROWS, VOCAB)) * np.repeat([0.02, 1.0, 3.0, 9.0], ROWS // 4)[:, None]
    logits[1::8] = random.integers(-3, 4, (ROWS // 8, VOCAB))
    logits[2::8, random.integers(0, VOCAB, 3)] += 30.0
    logits[3] = 1.5
    logits[4] -= 40.0
    logits[5] = np.where(np.arange(VOCAB) % 257 == 5, 2.0, -60.0)
    return rounded(logits)


class Pair(NamedTuple):
    logits: np.ndarray
    native: Any
    reference: Any


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, driver: Any) -> Iterator[Pair]:
    """Drivers of both executors over a model whose logits are `written_logits`."""
    logits, folder = written_logits(), tmp_path_factory.mktemp("written")
    embedding = np.zeros((VOCAB, ROWS), np.float32)
    embedding[:ROWS] = np.eye(ROWS, dtype=np.float32) * 1024.0
    square, narrow = np.zeros((ROWS, ROWS), np.float32), np.zeros((32, ROWS), np.float32)
    layer = "model.layers.0."
    tensors = {
        "model.embed_tokens.weight": embedding,
        "model.norm.weight": np.full(ROWS, ROWS**-0.5, np.float32),
        "lm_head.weight": np.ascontiguousarray(logits.T),
        f"{layer}input_layernorm.weight": np.ones(ROWS, np.float32),
        f"{layer}post_attention_layernorm.weight": np.ones(ROWS, np.float32),
        **{f"{layer}self_attn.{name}_proj.weight": square for name in "qo"},
        **{f"{layer}self_attn.{name}_proj.weight": narrow for name in "kv"},
        **{f"{layer}mlp.{name}_proj.weight": square for name in ("gate", "up", "down")},
    }
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(
        json.dumps({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": VOCAB, "hidden_size": ROWS,
            "intermediate_size": ROWS, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2,
            "head_dim": 16, "max_position_embeddings": 128, "rms_norm_eps": 1e-6, "tie_word_embeddings": False,
            "bos_token_id": 0, "eos_token_id": 1,
        })
    )  # fmt: skip
    checkpoint = open_checkpoint(folder)
    try:
        native = NativeExecutor(checkpoint, EngineConfig(num_threads=2, weight_cache=False), 128)
    except UnsupportedModel as error:
        pytest.skip(f"no native step here: {error}")
    yield Pair(logits, driver(native), driver(TorchExecutor(checkpoint, num_slots=128)))
    native.close()


def run(driver: Any, samples: list[SamplePlan], **changes: Any) -> StepOutput:
    """One step over all rows, on slots of its own that are free again afterwards."""
    sequence = driver.new()
    plan: StepPlan = driver.plan([(sequence, list(range(ROWS)))])
    plan.samples = samples
    for name, value in changes.items():
        setattr(plan, name, value)
    output: StepOutput = driver.executor.execute(plan)
    driver.free.extend(plan.slots_T.tolist())
    driver.table[sequence.row] = -1
    driver.rows.append(sequence.row)
    return output


class Draw(NamedTuple):
    token: int
    margin: float
    """How far, as a share of the total, the nearest decision was from going the other way."""


def by_the_rules(logits: np.ndarray, plan: SamplePlan, masks: np.ndarray) -> Draw:
    """The draw as plan.py and SamplingParams tell it, in numpy."""
    values = logits.copy()
    np.add.at(values, plan.bias_ids, plan.bias_values)
    repetition = np.float32(plan.repetition_penalty)
    for token, count in zip(plan.penalty_ids.tolist(), plan.penalty_counts.tolist(), strict=True):
        value = values[token] / repetition if values[token] > 0 else values[token] * repetition
        value -= np.float32(plan.frequency_penalty) * np.float32(count)
        values[token] = value - (np.float32(plan.presence_penalty) if count else np.float32(0))
    if plan.mask_row >= 0:
        bits = np.unpackbits(masks[plan.mask_row].view(np.uint8), bitorder="little")[:VOCAB].astype(bool)
        values[~bits] = -np.inf
    if plan.temperature == 0.0 or plan.top_k == 1:
        return Draw(int(np.argmax(values)), 1.0)
    p = np.exp((values.astype(np.float64) - values.max()) / plan.temperature)
    margin = 1.0
    if plan.top_k:
        p[np.lexsort((np.arange(VOCAB), -values.astype(np.float64)))[plan.top_k :]] = 0.0
    if plan.top_p < 1.0:
        order = np.lexsort((np.arange(VOCAB), -p))
        before = np.cumsum(p[order]) - p[order]
        kept = before < plan.top_p * p.sum()
        kept[0] = True
        margin = min(margin, float(np.abs(before[1:] - plan.top_p * p.sum()).min() / p.sum()))
        if not kept.all():
            first = int(kept.sum())
            gap = float(p[order[first - 1]] - p[order[first]]) / float(p[order[first - 1]])
            margin = min(margin, gap or 1.0)  # exact ties go by id, on every side
        p[order[~kept]] = 0.0
    if plan.min_p:
        others = p[p < p.max()]
        margin = min(margin, float(np.abs(others - plan.min_p * p.max()).min(initial=1.0) / p.max()))
        p[p < plan.min_p * p.max()] = 0.0
    running, wanted = np.cumsum(p), uniform(plan.seed, plan.counter) * p.sum()
    margin = min(margin, float(np.abs(running - wanted).min() / p.sum()))
    return Draw(int(np.argmax(running > wanted)), margin)


def random_masks(random: np.random.Generator) -> np.ndarray:
    """Eight masks: from three tokens (a head of lone columns) to nearly all."""
    shares = [3 / VOCAB, 0.01, 0.03, 0.1, 0.3, 0.5, 0.9, 0.99]
    allowed = random.random((8, WORDS * 32)) < np.array(shares)[:, None]
    allowed[:, VOCAB:] = True  # bits past the vocabulary mean nothing
    allowed[np.arange(8), random.integers(0, VOCAB, 8)] = True
    return np.packbits(allowed, axis=1, bitorder="little").view(np.uint32)


def random_sample(random: np.random.Generator, make_sample: Callable[..., SamplePlan]) -> SamplePlan:
    def often(share: float, value: Any, otherwise: Any) -> Any:
        return value if random.random() < share else otherwise

    biased = random.integers(0, VOCAB, int(random.integers(1, 40))).astype(np.int32)
    values = (random.standard_normal(len(biased)) * 8).astype(np.float32)
    values[random.random(len(biased)) < 0.3] = -np.inf
    punished = random.choice(VOCAB, int(random.integers(1, 300)), replace=False).astype(np.int32)
    has_bias, has_penalty = random.random() < 0.3, random.random() < 0.4
    return make_sample(
        int(random.integers(ROWS)),
        temperature=float(random.choice([0.0, 0.05, 0.3, 0.7, 1.0, 1.3, 4.0, 100.0])),
        top_k=often(0.4, int(random.choice([1, 2, 5, 40, 500, VOCAB, 100_000])), 0),
        top_p=often(0.5, float(random.choice([1e-6, 0.1, 0.5, 0.9, 0.95, 0.999])), 1.0),
        min_p=often(0.3, float(random.choice([1e-4, 0.02, 0.1, 0.7, 1.0])), 0.0),
        seed=int(random.integers(0, 2**64, dtype=np.uint64)),
        counter=int(random.choice([0, 1, 2, 77, 10**6])),
        mask_row=often(0.4, int(random.integers(8)), -1),
        bias_ids=biased if has_bias else NONE,
        bias_values=values if has_bias else np.zeros(0, np.float32),
        penalty_ids=punished if has_penalty else NONE,
        penalty_counts=random.integers(0, 4, len(punished)).astype(np.int32) if has_penalty else NONE,
        frequency_penalty=often(0.5, float(random.uniform(-2, 2)), 0.0),
        presence_penalty=often(0.5, float(random.uniform(-2, 2)), 0.0),
        repetition_penalty=often(0.5, float(random.uniform(0.1, 2.0)), 1.0),
        num_top=often(0.3, int(random.choice([0, 1, 5, 20])), -1),
        logprob_ids=random.integers(0, VOCAB, int(random.integers(0, 4))).astype(np.int32),
    )


def assert_same(found: Logprobs, wanted: Logprobs) -> None:
    assert found.top_ids == wanted.top_ids
    np.testing.assert_allclose(found.logprob, wanted.logprob, rtol=2e-6, atol=1e-5)
    np.testing.assert_allclose(found.top_logprobs, wanted.top_logprobs, rtol=2e-6, atol=1e-5)
    np.testing.assert_allclose(found.id_logprobs, wanted.id_logprobs, rtol=2e-6, atol=1e-5)


def test_the_logits_are_those_that_were_written(pair: Pair) -> None:
    logits = pair.logits.astype(np.float64)
    wanted = logits - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True))
    wanted -= logits.max(-1, keepdims=True)
    for driver in (pair.native, pair.reference):
        scores = [ScorePlan(row, -1, 0, np.arange(VOCAB, dtype=np.int32)) for row in range(ROWS)]
        found = np.array([s.id_logprobs for s in run(driver, [], scores=scores).scores_N])
        np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=1e-5)


def test_random_plans_draw_the_same_tokens(pair: Pair, make_sample: Callable[..., SamplePlan]) -> None:
    random, close, drawn = np.random.default_rng(5), 0, 0
    wrong: list[tuple[str, int, int, SamplePlan]] = []
    for _ in range(12):
        masks = random_masks(random)
        samples = [random_sample(random, make_sample) for _ in range(100)]
        native, reference = (
            run(driver, samples, masks_MW=masks).token_ids_S.tolist() for driver in (pair.native, pair.reference)
        )
        for sample, ours, theirs in zip(samples, native, reference, strict=True):
            token, margin = by_the_rules(pair.logits[sample.row], sample, masks)
            drawn += 1
            close += margin < CLOSE
            if margin >= CLOSE:
                wrong += [("native", ours, token, sample)] * (ours != token)
                wrong += [("reference", theirs, token, sample)] * (theirs != token)
    assert not wrong, f"{len(wrong)} of {drawn}, the first: {wrong[0]}"
    assert close < drawn // 50


def test_every_uniform_number_falls_on_its_token(pair: Pair, make_sample: Callable[..., SamplePlan]) -> None:
    """Many counters of one request: the histogram is the distribution, token by token the same."""
    samples = [make_sample(20, temperature=0.8, top_p=0.9, seed=3, counter=i) for i in range(600)]
    native, reference = (run(d, samples).token_ids_S.tolist() for d in (pair.native, pair.reference))
    assert native == reference
    assert len(set(native)) > 20


def test_log_probabilities_scores_and_hidden_states_agree(pair: Pair, make_sample: Callable[..., SamplePlan]) -> None:
    random = np.random.default_rng(9)
    masks = random_masks(random)
    samples = [random_sample(random, make_sample)._replace(temperature=0.0) for _ in range(150)]
    scores = [
        ScorePlan(int(row), int(target), int(num), random.integers(0, VOCAB, 3).astype(np.int32))
        for row, target, num in zip(
            random.integers(0, ROWS, 60), random.integers(-1, VOCAB, 60), random.integers(0, 30, 60), strict=True
        )
    ]
    hidden = random.permutation(ROWS)[:9].astype(np.int32)
    native, reference = (
        run(driver, samples, masks_MW=masks, scores=scores, hidden_rows=hidden)
        for driver in (pair.native, pair.reference)
    )
    assert native.token_ids_S.tolist() == reference.token_ids_S.tolist()
    for found, wanted in zip(native.logprobs_S, reference.logprobs_S, strict=True):
        assert (found is None) == (wanted is None)
        if found is not None and wanted is not None:
            assert_same(found, wanted)
    for found, wanted in zip(native.scores_N, reference.scores_N, strict=True):
        assert_same(found, wanted)
        assert len(found.id_logprobs) == 3
    np.testing.assert_allclose(native.hidden_RE, np.eye(ROWS)[hidden], atol=1e-6)
    np.testing.assert_allclose(reference.hidden_RE, native.hidden_RE, atol=1e-6)


@pytest.mark.parametrize("changes", [{}, {"top_k": 3}, {"top_p": 0.4}, {"min_p": 0.5}, {"top_p": 0.4, "min_p": 0.5}])
def test_a_vanishing_temperature_draws_among_the_likeliest(
    changes: dict[str, Any], pair: Pair, make_sample: Callable[..., SamplePlan]
) -> None:
    samples = [
        make_sample(row, temperature=temperature, counter=i, **changes)
        for i, (row, temperature) in enumerate((r, t) for r in (1, 3, 9, 30) for t in (1e-30, 1e-42, 1e-60, 1e-300))
    ]
    native, reference = (run(d, samples).token_ids_S.tolist() for d in (pair.native, pair.reference))
    wanted = [by_the_rules(pair.logits[s.row], s, np.zeros((0, 0), np.uint32)).token for s in samples]
    assert reference == wanted
    assert native == wanted


def test_a_mask_that_forbids_everything_ends_in_some_token(pair: Pair, make_sample: Callable[..., SamplePlan]) -> None:
    """The request is lost; the step is not, nor are its other samples."""
    masks = np.zeros((1, WORDS), np.uint32)
    samples = [make_sample(0, temperature=t, mask_row=0, top_p=0.5, min_p=0.1) for t in (0.0, 1.0)] + [make_sample(7)]
    for driver in (pair.native, pair.reference):
        tokens = run(driver, samples, masks_MW=masks).token_ids_S.tolist()
        assert all(0 <= token < VOCAB for token in tokens)
        assert tokens[2] == int(np.argmax(pair.logits[7]))


def test_logits_past_what_a_float_holds_stay_alone(pair: Pair, make_sample: Callable[..., SamplePlan]) -> None:
    """Biases that push all but one token to nothing leave that one, however the draw falls."""
    ids = np.arange(VOCAB, dtype=np.int32)
    values = np.where(ids == 700, 0.0, -np.inf).astype(np.float32)
    samples = [
        make_sample(row, temperature=1.0, bias_ids=ids, bias_values=values, counter=row, top_k=k, min_p=p)
        for row, k, p in ((0, 0, 0.0), (10, 7, 0.2), (40, 0, 1.0))
    ]
    for driver in (pair.native, pair.reference):
        assert run(driver, samples).token_ids_S.tolist() == [700] * 3
