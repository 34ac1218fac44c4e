"""The CUDA executor, Triton kernels and padded batches included, beside the reference executor.

Without a GPU it runs on the CPU, kernels in triton's interpreter, graphs as plain calls: everything but the device.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("triton")


from radixlang.kernels import registry
from radixlang.kernels.reference import rope as reference_rope
from radixlang.runtime.config import EngineConfig
from radixlang.runtime.lora.adapter import linears_of, read_adapter
from radixlang.runtime.lora.names import SlotSize
from radixlang.runtime.messages import Control, Submit
from radixlang.runtime.model_runner.cuda import load as cuda_load
from radixlang.runtime.model_runner.cuda.executor import CudaExecutor
from radixlang.runtime.model_runner.plan import ScorePlan
from radixlang.runtime.model_runner.torch_executor import TorchExecutor
from radixlang.runtime.sampling_params import SamplingParams
from radixlang.runtime.scheduler.scheduler import Scheduler
from radixlang.runtime.weights.open import open_checkpoint


class NoTokenizer:
    """Requests without text need none."""

    vocab_size = 320
    eos_token_ids: frozenset[int] = frozenset()


DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
ROWS, CONTEXT, SLOTS = 32, 128, 256


pytestmark = pytest.mark.usefixtures("triton_everywhere")


@pytest.fixture(scope="module")
def pair(tiny_model_dir: Path, build_cuda: Any) -> tuple[CudaExecutor, TorchExecutor]:
    return build_cuda(open_checkpoint(tiny_model_dir)), TorchExecutor(open_checkpoint(tiny_model_dir), num_slots=SLOTS)


def prompts(count: int, seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(3, 300, rng.integers(1, 40)).tolist() for _ in range(count)]


@pytest.mark.parametrize("chunk", [None, 7])
def test_greedy_tokens_are_the_references(pair: Any, driver: Any, chunk: int | None) -> None:
    got, reference = [driver(e).greedy(prompts(3), 3, chunk=chunk) for e in pair]
    assert got == reference


def test_a_warm_up_leaves_nothing_behind(pair: Any, driver: Any, tiny_model_dir: Path, build_cuda: Any) -> None:
    executor = build_cuda(open_checkpoint(tiny_model_dir), lora=SlotSize(1, 2), rows=2)
    executor.warm_up(3)
    assert executor._adapters is not None
    assert executor._adapters._free == [0]
    asked = prompts(2, seed=6)
    got, reference = (driver(e, rows=2).greedy(asked, 2) for e in (executor, pair[1]))
    assert got == reference


def test_it_is_loaded_and_its_memory_measured(
    pair: Any, driver: Any, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of `load_cuda`, the card's own answers aside."""
    counted = iter([100, 1000, 100, 500])  # before and at most, of a prompt and of the largest batch
    card: dict[str, Any] = {
        "get_device_name": lambda *_: "H200", "get_device_capability": lambda *_: (9, 0),
        "mem_get_info": lambda *_: (10**9, 10**9), "synchronize": lambda *_: None,
        "reset_peak_memory_stats": lambda *_: None, "empty_cache": lambda: None,
        "memory_allocated": lambda *_: next(counted), "max_memory_allocated": lambda *_: next(counted),
    }  # fmt: skip
    for name, answer in card.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    monkeypatch.setattr(cuda_load, "_device", lambda: torch.device(DEVICE))
    asked = []

    def plan_slots(free: int, a_token: int) -> int:
        asked.append((free, a_token))
        return SLOTS

    config = EngineConfig(max_running_requests=2, chunked_prefill_size=3, context_length=CONTEXT)
    checkpoint = open_checkpoint(tiny_model_dir)
    executor = cuda_load.load_cuda(
        config, checkpoint, dtype="float32", kv_dtype="float32", plan_slots=plan_slots, lora=None
    )
    beside = 900 + 400 + 4 * (3 * CONTEXT + 2 * checkpoint.config.vocab_size)
    assert asked == [(10**9 - beside, executor.kv_bytes_per_token)]
    assert executor.num_slots == SLOTS
    work = prompts(2, seed=8)
    got, reference = (driver(e, rows=2).greedy(work, 2) for e in (executor, pair[1]))
    assert got == reference


def test_a_shared_prefix_and_replaced_slots_are_seen(pair: Any, driver: Any) -> None:
    results = []
    for executor in pair:
        run = driver(executor)
        first = run.new()
        ids = list(range(10, 40))
        run.logprobs([(first, ids)])
        forked = run.new(share=first, length=20)  # its slots were never told to the device under this row
        told = run.logprobs([(forked, [5, 6]), (first, [9])])
        # The same tokens in other slots, as when the tree keeps another request's copy: the row is redirected.
        other = run.new()
        run.logprobs([(other, ids[:20])])
        run.table[forked.row, :20] = run.table[other.row, :20]
        told += run.logprobs([(forked, [7])])
        results.append(np.concatenate(told))
    assert np.abs(results[0] - results[1]).max() < 1e-4


def test_samples_masks_and_logprobs(pair: Any, driver: Any, make_sample: Callable[..., Any]) -> None:
    outs = []
    for executor in pair:
        run = driver(executor)
        plan = run.plan([(run.new(), ids) for ids in prompts(4, seed=3)])
        ends = (plan.query_start_B1[1:] - 1).tolist()
        mask = np.zeros((1, (executor.vocab_size + 31) // 32), np.uint32)
        mask[0, 2] = 0b1011
        plan.masks_MW = mask
        ids = np.array([3, 50, 77], np.int32)
        plan.samples = [
            make_sample(ends[0], temperature=1.0, seed=4, counter=2, top_k=20, num_top=3, logprob_ids=ids),
            make_sample(ends[1], temperature=0.8, seed=1, top_p=0.7, min_p=0.01, mask_row=0),
            make_sample(ends[2], bias_ids=ids, bias_values=np.array([9.0, -9.0, 3.0], np.float32), num_top=0),
            make_sample(ends[3], temperature=2.0, seed=8, penalty_ids=ids, penalty_counts=np.array([0, 1, 2], np.int32),
                        frequency_penalty=0.5, presence_penalty=0.5, repetition_penalty=1.3),
            make_sample(ends[0]),
        ]  # fmt: skip
        plan.scores = [ScorePlan(0, int(plan.token_ids_T[1]), 2, ids), ScorePlan(1, -1, 0, ids)]
        plan.hidden_rows = np.array([2, 0], np.int32)
        outs.append(executor.execute(plan))
    got, reference = outs
    assert got.token_ids_S.tolist() == reference.token_ids_S.tolist()
    assert np.abs(got.hidden_RE - reference.hidden_RE).max() < 1e-3
    for mine, theirs in zip(
        [*got.logprobs_S, *got.scores_N], [*reference.logprobs_S, *reference.scores_N], strict=True
    ):
        assert (mine is None) == (theirs is None)
        if mine is not None and theirs is not None:
            assert mine.top_ids == theirs.top_ids
            assert np.allclose(
                [mine.logprob, *mine.top_logprobs, *mine.id_logprobs],
                [theirs.logprob, *theirs.top_logprobs, *theirs.id_logprobs], atol=1e-4, equal_nan=True,
            )  # fmt: skip


def test_draws_are_relayed_on_the_device(pair: Any, driver: Any, make_sample: Callable[..., Any]) -> None:
    """Two steps launched before the first is read: the second takes the first's draws."""
    executor, reference = pair
    asked = prompts(3, seed=5)
    (expected,) = (driver(reference).greedy(asked, 2),)
    run = driver(executor)
    sequences = [run.new() for _ in asked]
    first = run.plan(list(zip(sequences, asked, strict=True)))
    first.samples = [make_sample(int(end) - 1) for end in first.query_start_B1[1:]]
    ahead = executor.launch(first, relays=True)
    second = run.plan([(s, [0]) for s in sequences])
    second.relay_rows = second.relay_samples = np.arange(3, dtype=np.int32)
    second.samples = [make_sample(row) for row in range(3)]
    behind = executor.launch(second, relays=True)
    tokens = [ahead.result().token_ids_S.tolist(), behind.result().token_ids_S.tolist()]
    assert [list(pair) for pair in zip(*tokens, strict=True)] == expected


def served(executor: Any, page_size: int) -> dict[str, list[int]]:
    """Tokens of four requests through the real scheduler, one step ahead: chunked prompts, a shared prefix, draws."""
    out: dict[str, list[int]] = {}
    done = threading.Semaphore(0)

    def receive(message: Any) -> None:
        for output in getattr(message, "items", ()):
            out.setdefault(output.rid, []).extend(output.token_ids)
            if output.finish is not None:
                assert output.finish.type == "length", output.finish
                done.release()

    config = EngineConfig(
        max_running_requests=ROWS, chunked_prefill_size=16, speculative_algorithm="none", page_size=page_size
    )  # fmt: skip
    scheduler = Scheduler(
        config, executor, NoTokenizer(), None, receive, max_context=CONTEXT, eos_token_ids=frozenset()
    )
    thread = threading.Thread(target=scheduler.run, daemon=True)
    thread.start()
    shared = list(range(20, 40))
    for i, tail in enumerate(([], [3, 4], [5], [6])):
        sampling = SamplingParams(
            max_new_tokens=3 + i, temperature=float(i == 2), sampling_seed=i, frequency_penalty=0.5 * (i == 3)
        )
        scheduler.post(Submit(rid=str(i), token_ids=shared + tail, sampling=sampling))
    for _ in range(4):
        assert done.acquire(timeout=100)
    scheduler.post(Control("end", "shutdown"))
    thread.join()
    return out


@pytest.mark.parametrize("page_size", [1, 4])
def test_the_scheduler_runs_one_step_ahead_of_it(pair: Any, page_size: int) -> None:
    got, expected = (served(executor, page_size) for executor in pair)
    assert got == expected
    assert [len(got[str(i)]) for i in range(4)] == [3, 4, 5, 6]


class EveryDraftPays:
    """Costs of steps that are the faster the more rows they have."""

    def curve(self, context: int) -> Any:
        return 1.0 / np.arange(1, 2000)

    def add(self, num_rows: int, context: int, seconds: float) -> None:
        pass


@pytest.mark.parametrize("which", [0, 1], ids=["cuda", "torch"])
def test_drafts_that_branch_through_the_scheduler(pair: Any, which: int) -> None:
    """Two answers of one prompt, then the same again: the tree knows both, and tokens are the reference's undrafted."""
    told, branched = [], 0
    for algorithm in ("none", "tree"):
        inner = pair[which if algorithm == "tree" else 1]

        def execute(plan: Any, inner: Any = inner) -> Any:
            nonlocal branched
            branched += bool(plan.tree_T.size)
            return inner.execute(plan)

        executor = SimpleNamespace(
            vocab_size=inner.vocab_size, num_slots=SLOTS, hidden_size=inner.hidden_size, device="here",
            kv_bytes_per_token=1, takes_trees=inner.takes_trees, execute=execute, close=None,
        )  # fmt: skip
        got: dict[str, list[int]] = {}

        def receive(message: Any, got: dict[str, list[int]] = got) -> None:
            for output in getattr(message, "items", ()):
                got.setdefault(output.rid, []).extend(output.token_ids)

        config = EngineConfig(
            max_running_requests=ROWS, speculative_algorithm=algorithm, disable_overlap_schedule=True
        )  # fmt: skip
        scheduler = Scheduler(
            config, executor, NoTokenizer(), None, receive, max_context=CONTEXT, eos_token_ids=frozenset()
        )  # fmt: skip
        if scheduler._state.speculator is not None:
            scheduler._state.speculator.costs = EveryDraftPays()  # type: ignore[assignment]
        for turn in "ab":
            for seed in range(2):
                sampling = SamplingParams(max_new_tokens=5, temperature=20.0, sampling_seed=seed, top_k=6)
                scheduler.post(Submit(rid=f"{turn}{seed}", token_ids=list(range(20, 40)), sampling=sampling))
                while scheduler.step():
                    pass
        told.append(got)
        correct = scheduler.stats()["spec_correct_drafts_total"]
    assert told[0] == told[1]
    assert told[1]["a1"] == told[1]["b1"] != told[1]["b0"]
    assert branched >= 2
    assert isinstance(correct, int)
    assert correct >= 5


@pytest.mark.parametrize(
    "family_name",
    [
        "qwen2_moe",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("gemma2", "qwen3", "phi3", "mixtral")),
    ],
)
def test_families(family_name: str, make_family: Any, driver: Any, build_cuda: Any) -> None:
    family = make_family(family_name)
    work = prompts(2, seed=9)
    told = []
    for executor in (
        build_cuda(open_checkpoint(family.path)),
        TorchExecutor(open_checkpoint(family.path), num_slots=SLOTS),
    ):
        run = driver(executor)
        told.append(np.concatenate(run.logprobs([(run.new(), [i % 90 for i in ids]) for ids in work])))
    assert np.abs(told[0] - told[1]).max() < 1e-3


def test_an_fp8_pool_is_near_a_whole_one(pair: Any, tiny_model_dir: Path, driver: Any, build_cuda: Any) -> None:
    if DEVICE == "cpu":  # the interpreter loses carries when it rounds to FP8

        def store(qkv: Any, rope: Any, kv: Any, scale: Any, slots: Any, **options: Any) -> Any:
            return reference_rope.rotate_and_store(qkv, rope, kv, scale, slots.long(), **options)

        registry.register("rotate_and_store", store, name="rounds", device=DEVICE, rank=10)
    told = []
    for executor in (build_cuda(open_checkpoint(tiny_model_dir), torch.float8_e4m3fn), pair[1]):
        run = driver(executor)
        told.append(np.concatenate(run.logprobs([(run.new(), ids) for ids in prompts(2, seed=2)])))
    got, whole = told
    registry._table["rotate_and_store"] = [i for i in registry._table["rotate_and_store"] if i.name != "rounds"]
    assert 1e-6 < (np.exp(whole) * (whole - got)).sum(-1).mean() < 0.02


def test_an_int8_pool(tiny_model_dir: Path, driver: Any, build_cuda: Any) -> None:
    told = []
    for executor in (
        build_cuda(open_checkpoint(tiny_model_dir), torch.int8),
        TorchExecutor(open_checkpoint(tiny_model_dir), num_slots=SLOTS, kv_dtype="int8"),
    ):
        run = driver(executor)
        told.append(np.concatenate(run.logprobs([(run.new(), ids) for ids in prompts(2, seed=2)])))
    assert np.abs(told[0] - told[1]).max() < 0.02


def test_adapters_in_prompts_and_in_graphs(
    tiny_model_dir: Path, driver: Any, make_adapter: Callable[..., Path], tmp_path: Path, build_cuda: Any
) -> None:
    """Three adapters and none in two slots: prompts of all at once, then two at a time through the padded buckets."""
    folders = [
        make_adapter(tmp_path / "a", tiny_model_dir, rank=4, targets=("q_proj", "v_proj"), seed=1),
        make_adapter(tmp_path / "b", tiny_model_dir, rank=8, seed=2, size=0.6),
        make_adapter(tmp_path / "c", tiny_model_dir, rank=2, targets=("down_proj", "lm_head"), seed=3, size=0.9),
    ]
    adapters = [read_adapter(folder, linears_of(open_checkpoint(tiny_model_dir))) for folder in folders]
    results = []
    for executor in (
        build_cuda(open_checkpoint(tiny_model_dir), lora=SlotSize(2, 8)),
        TorchExecutor(open_checkpoint(tiny_model_dir), num_slots=SLOTS, lora=SlotSize(3, 8)),
    ):
        got: list[list[int]] = []
        for who in ([0, -1, 1], [2, 1, -1]):
            inner = executor.execute

            def execute(plan: Any, who: list[int] = who, inner: Any = inner) -> Any:
                used = sorted({place for place in who if place >= 0})
                plan.adapters = [adapters[place] for place in used]
                plan.adapters_B = np.array([used.index(p) if p >= 0 else -1 for p in who], np.int32)
                return inner(plan)

            runs = driver(SimpleNamespace(num_slots=SLOTS, execute=execute))
            got += runs.greedy([[5, 9, 31]] * 3, 2)
        results.append(got)
    assert results[0] == results[1]
    assert len({tuple(ids) for ids in results[0]}) > 2
