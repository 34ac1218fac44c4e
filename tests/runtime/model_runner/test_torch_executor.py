"""Samples, masks, scores and hidden states of a step, on the tiny random model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from radixlang.errors import ConfigError
from radixlang.runtime.model_runner.plan import SamplePlan, ScorePlan, StepPlan, uniform
from radixlang.runtime.weights.checkpoint import Checkpoint
from radixlang.runtime.weights.open import open_checkpoint

torch = pytest.importorskip("torch")

from radixlang.runtime.model_runner.torch_executor import TorchExecutor  # noqa: E402

NONE = np.zeros(0, np.int32)
IDS = [5, 77, 200, 31, 8, 120, 44]


def sample(row: int, **changes: Any) -> SamplePlan:
    plan = SamplePlan(
        row=row, temperature=0.0, top_k=0, top_p=1.0, min_p=0.0, seed=0, counter=0, mask_row=-1,
        bias_ids=NONE, bias_values=np.zeros(0, np.float32), penalty_ids=NONE, penalty_counts=NONE,
        frequency_penalty=0.0, presence_penalty=0.0, repetition_penalty=1.0, num_top=-1, logprob_ids=NONE,
    )  # fmt: skip
    return plan._replace(**changes)


def one_sequence(ids: list[int], **fields: Any) -> StepPlan:
    rows = np.arange(len(ids), dtype=np.int32)
    return StepPlan(
        step=1, token_ids_T=np.array(ids, np.int32), positions_T=rows, slots_T=rows,
        query_start_B1=np.array([0, len(ids)], np.int32), kv_lens_B=np.array([len(ids)], np.int32),
        table_rows_B=np.zeros(1, np.int32), page_table=np.arange(64, dtype=np.int32)[None], **fields,
    )  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(tiny_model_dir: Path) -> Iterator[Checkpoint]:
    opened = open_checkpoint(tiny_model_dir)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def executor(checkpoint: Checkpoint) -> Iterator[TorchExecutor]:
    threads = torch.get_num_threads()
    made = TorchExecutor(checkpoint, num_slots=64, num_threads=1)
    yield made
    made.close()
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def logprobs(executor: TorchExecutor) -> np.ndarray:
    """[rows, V] of IDS."""
    every = np.arange(executor.vocab_size, dtype=np.int32)
    out = executor.execute(one_sequence(IDS, scores=[ScorePlan(row, -1, 0, every) for row in range(len(IDS))]))
    return np.array([s.id_logprobs for s in out.scores_N])


def draw(executor: TorchExecutor, *samples: SamplePlan, **fields: Any) -> list[int]:
    out = executor.execute(one_sequence(IDS, samples=list(samples), **fields))
    assert out.token_ids_S.dtype == np.int32
    return out.token_ids_S.tolist()


def words(allowed: list[int], vocab_size: int) -> np.ndarray:
    mask = np.zeros((vocab_size + 31) // 32, np.uint32)
    for token in allowed:
        mask[token // 32] |= np.uint32(1 << token % 32)
    return mask


def test_greedy_is_the_likeliest_of_its_row(executor: TorchExecutor, logprobs: np.ndarray) -> None:
    rows = [6, 0, 3, 3]
    assert draw(executor, *(sample(r) for r in rows)) == logprobs[rows].argmax(1).tolist()
    assert len(set(logprobs.argmax(1).tolist())) > 1


def test_samples_of_one_row_differ_by_their_seeds_alone(executor: TorchExecutor, logprobs: np.ndarray) -> None:
    plans = [sample(6, temperature=1.5, seed=s, counter=c) for s in (1, 2**64 - 1) for c in range(8)]
    drawn = draw(executor, *plans)
    assert drawn == draw(executor, *reversed(plans))[::-1]
    assert len(set(drawn)) > 4
    p = np.exp(logprobs[6] / 1.5)
    for plan, token in zip(plans, drawn, strict=True):
        running = np.cumsum(p / p.sum())
        assert abs(token - np.searchsorted(running, uniform(plan.seed, plan.counter))) <= 1  # rounding of the sum


def test_a_mask_is_filled_once_and_obeyed(executor: TorchExecutor, logprobs: np.ndarray) -> None:
    masks = np.zeros((2, len(words([], executor.vocab_size))), np.uint32)
    calls = []

    def fill() -> None:
        calls.append(1)
        masks[0], masks[1] = words([9, 60], executor.vocab_size), words([319], executor.vocab_size)

    drawn = draw(
        executor,
        sample(6, mask_row=0),
        sample(6, mask_row=1, temperature=1.0),
        sample(6),
        masks_MW=masks,
        fill_masks=fill,
    )
    assert drawn == [9 if logprobs[6, 9] > logprobs[6, 60] else 60, 319, logprobs[6].argmax()]
    assert calls == [1]


def test_bias_and_penalties_move_the_choice(executor: TorchExecutor, logprobs: np.ndarray) -> None:
    best, second = np.argsort(-logprobs[6])[:2].tolist()
    ban = {"bias_ids": np.array([best], np.int32), "bias_values": np.array([-math.inf], np.float32)}
    lift = {"bias_ids": np.array([7], np.int32), "bias_values": np.array([100.0], np.float32)}
    frequent = {
        "penalty_ids": np.array([best], np.int32), "penalty_counts": np.array([50], np.int32), "frequency_penalty": 2.0,
    }  # fmt: skip
    plain = sample(6)
    plans = [plain._replace(**changes) for changes in ({}, ban, lift, frequent)]
    assert draw(executor, *plans) == [best, second, 7, second]


def test_log_probabilities_are_of_the_model_not_of_the_draw(executor: TorchExecutor, logprobs: np.ndarray) -> None:
    wanted = np.array([300, 2], np.int32)
    plan = sample(
        6, temperature=0.7, num_top=3, logprob_ids=wanted,
        bias_ids=np.array([11], np.int32), bias_values=np.array([100.0], np.float32),
    )  # fmt: skip
    out = executor.execute(one_sequence(IDS, samples=[plan, sample(6), sample(2, num_top=0)]))
    found = out.logprobs_S[0]
    assert out.token_ids_S[0] == 11
    assert found.logprob == pytest.approx(logprobs[6, 11], abs=1e-5)
    assert found.top_ids == np.argsort(-logprobs[6], kind="stable")[:3].tolist()
    assert found.top_logprobs == pytest.approx(logprobs[6][found.top_ids].tolist(), abs=1e-5)
    assert found.id_logprobs == pytest.approx(logprobs[6, wanted].tolist(), abs=1e-5)
    assert out.logprobs_S[1] is None
    assert out.logprobs_S[2].top_ids == []
    assert out.logprobs_S[2].logprob == pytest.approx(logprobs[2].max(), abs=1e-5)


def test_scores_have_their_target_or_nan(executor: TorchExecutor, logprobs: np.ndarray) -> None:
    scores = [ScorePlan(r, IDS[r + 1] if r + 1 < len(IDS) else -1, 1, NONE) for r in range(len(IDS))]
    found = executor.execute(one_sequence(IDS, scores=scores)).scores_N
    assert [s.logprob for s in found[:-1]] == pytest.approx([logprobs[r, IDS[r + 1]] for r in range(6)], abs=1e-5)
    assert math.isnan(found[-1].logprob)
    assert [s.top_ids[0] for s in found] == logprobs.argmax(1).tolist()


def test_hidden_states_are_those_before_the_head(
    executor: TorchExecutor, checkpoint: Checkpoint, logprobs: np.ndarray
) -> None:
    out = executor.execute(one_sequence(IDS, hidden_rows=np.array([6, 1], np.int32), samples=[sample(3)]))
    assert out.hidden_RE.shape == (2, executor.hidden_size)
    assert out.hidden_RE.dtype == np.float32
    logits = out.hidden_RE @ checkpoint.dense("model.embed_tokens.weight").T  # the head is tied
    logits -= np.log(np.exp(logits).sum(-1, keepdims=True))
    np.testing.assert_allclose(logits, logprobs[[6, 1]], atol=1e-4)


def test_a_step_without_readers_only_fills_the_cache(executor: TorchExecutor, logprobs: np.ndarray) -> None:
    out = executor.execute(one_sequence(IDS[:5]))
    assert (out.token_ids_S.size, out.logprobs_S, out.scores_N, out.hidden_RE.shape) == (0, [], [], (0, 64))
    table = np.arange(64, dtype=np.int32)[None]
    rest = StepPlan(
        step=2, token_ids_T=np.array(IDS[5:], np.int32), positions_T=np.array([5, 6], np.int32),
        slots_T=np.array([5, 6], np.int32), query_start_B1=np.array([0, 2], np.int32),
        kv_lens_B=np.array([7], np.int32),
        table_rows_B=np.zeros(1, np.int32), page_table=table, samples=[sample(1)],
    )  # fmt: skip
    assert executor.execute(rest).token_ids_S[0] == logprobs[6].argmax()


def test_a_failed_step_leaves_the_executor_usable(executor: TorchExecutor, logprobs: np.ndarray) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        executor.execute(one_sequence(IDS, fill_masks=fail, samples=[sample(6)]))
    with pytest.raises(IndexError):
        executor.execute(one_sequence([5, 10**6], samples=[sample(1)]))
    assert draw(executor, sample(6)) == [logprobs[6].argmax()]


def test_facts_say_what_runs(executor: TorchExecutor, checkpoint: Checkpoint) -> None:
    assert executor.vocab_size == checkpoint.config.vocab_size
    assert executor.device == "cpu (torch, float32, 1 threads)"
    assert executor.kv_bytes_per_token == 2 * 2 * 16 * 4 * 2
    small = TorchExecutor(checkpoint, num_slots=8, kv_dtype="int8")
    assert small.kv_bytes_per_token == 2 * 2 * (16 + 4) * 2
    with pytest.raises(ConfigError, match="num_slots"):
        TorchExecutor(checkpoint, num_slots=0)
