"""The native step: the reference's numbers on every kind of op, and the same bits in every batch."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from radixlang.errors import ConfigError, InternalError, UnsupportedModel, WeightMismatch
from radixlang.runtime.model.config import ModelConfig, RopeConfig
from radixlang.runtime.model_runner.plan import Executor, ScorePlan, SharedPrefix, StepPlan
from radixlang.runtime.model_runner.torch_executor import TorchExecutor

INSTRUCTION_SETS = ("avx512bf16", "avx512", "avx2vnni", "avx2", "neon", "scalar")
KINDS: dict[str, dict[str, Any]] = {
    "llama": {"tie_embeddings": True},
    "llama-scaled-rope": {
        "rope": RopeConfig(kind="llama3", theta=500.0, factor=8.0, original_max_context=64),
        "head_dim": 64,
        "num_heads": 4,
        "num_kv_heads": 1,
    },
    "one-kv-head-each": {"num_heads": 3, "num_kv_heads": 3, "head_dim": 40},
    "wide-group": {"num_heads": 10, "num_kv_heads": 1, "head_dim": 16},
    "interleaved-partial-rope": {"rope": RopeConfig(interleaved=True, dim=16)},
    "yarn": {"rope": RopeConfig(kind="yarn", factor=4.0, original_max_context=128)},
    "qwen3": {"architecture": "qwen3", "qk_norm": "head", "norm_eps": 1e-6},
    "smollm3": {"architecture": "smollm3", "rope_layers": (True, False)},
    "gemma2": {
        "architecture": "gemma2",
        "norm_placement": "sandwich",
        "norm_offset": 1.0,
        "activation": "gelu_tanh",
        "embedding_multiplier": 9.8,
        "attention_softcap": 5.0,
        "logit_softcap": 3.0,
        "windows": (37, 0),
        "attention_scale": 0.2,
        "head_dim": 256,
        "num_heads": 2,
        "num_kv_heads": 1,
        "tie_embeddings": True,
    },
    "gemma3": {
        "architecture": "gemma3",
        "norm_placement": "sandwich",
        "qk_norm": "head",
        "norm_offset": 1.0,
        "windows": (130, 0),
        "local_rope": RopeConfig(theta=100.0),
        "rope": RopeConfig(kind="linear", factor=8.0),
    },
    "olmo2": {"architecture": "olmo2", "norm_placement": "post", "qk_norm": "full"},
    "granite": {
        "architecture": "granite",
        "logit_divisor": 4.0,
        "residual_multiplier": 0.3,
        "embedding_multiplier": 6.0,
        "attention_scale": 0.07,
    },
}


def int32(values: Sequence[int]) -> np.ndarray:
    return np.array(values, np.int32)


class Driver:
    """One executor, token ids and a page table; computes chunks of sequences and returns all log-probabilities."""

    def __init__(self, executor: Executor, ids: np.ndarray, num_sequences: int = 1, seed: int = 0) -> None:
        self.executor, self.ids = executor, ids
        slots = np.random.default_rng(seed).permutation(executor.num_slots).astype(np.int32)
        self.table = slots[: num_sequences * len(ids)].reshape(num_sequences, len(ids)).copy()
        self.everything = np.arange(executor.vocab_size, dtype=np.int32)

    def run(
        self,
        chunks: Sequence[tuple[int, int, int]],
        groups: Sequence[SharedPrefix] = (),
        read: Sequence[int] | None = None,
    ) -> np.ndarray:
        """chunks: (table row, first position, end). read: the packed rows that are asked for. Returns [rows, V]."""
        positions = np.concatenate([np.arange(a, b) for _, a, b in chunks]).astype(np.int32)
        rows = np.concatenate([np.full(b - a, row) for row, a, b in chunks])
        plan = StepPlan(
            step=0,
            token_ids_T=self.ids[positions],
            positions_T=positions,
            slots_T=self.table[rows, positions],
            query_start_B1=np.cumsum([0, *(b - a for _, a, b in chunks)]).astype(np.int32),
            kv_lens_B=int32([b for _, _, b in chunks]),
            table_rows_B=int32([row for row, _, _ in chunks]),
            page_table=self.table,
            groups=list(groups),
            scores=[ScorePlan(r, -1, 0, self.everything) for r in (range(len(positions)) if read is None else read)],
        )
        return np.array([s.id_logprobs for s in self.executor.execute(plan).scores_N], np.float32)


@pytest.fixture
def ids() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 211, 300).astype(np.int32)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_op_agrees_with_the_reference(
    kind: str, llama: ModelConfig, checkpoint: Any, run_model: Callable[..., Any], ids: np.ndarray
) -> None:
    model = checkpoint(replace(llama, **KINDS[kind]), bias=kind in ("llama", "gemma3"))
    chunks = [(0, 0, 1), (0, 1, 140), (0, 140, 141), (0, 141, 300)]
    reference = Driver(TorchExecutor(model, num_slots=512), ids)
    native = Driver(run_model(model), ids, seed=1)
    for chunk in chunks:
        wanted, found = reference.run([chunk]), native.run([chunk])
        assert np.ptp(wanted) > 1.0
        np.testing.assert_allclose(found, wanted, atol=5e-4, rtol=5e-4)


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@pytest.mark.parametrize(
    ("kv", "tolerance"), [("float32", 1e-5), ("float16", 2e-3), ("bfloat16", 2e-2), ("int8", 4e-2)]
)
def test_every_instruction_set_and_cache_type(
    isa: str, kv: str, tolerance: float, llama: ModelConfig, checkpoint: Any, run_model: Callable[..., Any]
) -> None:
    model, ids = checkpoint(llama), np.arange(150, dtype=np.int32)
    wanted = Driver(TorchExecutor(model, num_slots=256), ids).run([(0, 0, 150)])
    native = Driver(run_model(model, isa=isa, kv=kv), ids)
    found = np.concatenate([native.run([(0, 0, 140)]), native.run([(0, 140, 150)])])
    assert np.abs(found - wanted).mean() < tolerance


@pytest.mark.parametrize("head_dim", [40, 64, 80, 128])
@pytest.mark.parametrize(("kv", "tolerance"), [("bfloat16", 2e-2), ("int8", 4e-2)])
def test_every_head_size_with_small_caches(
    kv: str,
    tolerance: float,
    head_dim: int,
    llama: ModelConfig,
    checkpoint: Any,
    run_model: Callable[..., Any],
    ids: np.ndarray,
) -> None:
    """Rows one at a time, for which keys are read in place, and whole, for which they are laid out: the same bits."""
    model = checkpoint(replace(llama, head_dim=head_dim))
    wanted = Driver(TorchExecutor(model, num_slots=512), ids).run([(0, 0, 300)])
    found = Driver(run_model(model, kv=kv), ids).run([(0, 0, 300)])
    assert np.abs(found - wanted).mean() < tolerance
    single = Driver(run_model(model, kv=kv), ids, seed=1)
    single.run([(0, 0, 260)])
    for at in range(260, 299, 13):
        single.run([(0, at, at + 12)])
        np.testing.assert_array_equal(single.run([(0, at + 12, at + 13)])[0], found[at + 12])


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@pytest.mark.parametrize("kv", ["bfloat16", "int8"])
@pytest.mark.parametrize("weights", ["Q4_1", "Q8_0"])
def test_a_row_has_the_same_bits_in_every_batch(
    isa: str, kv: str, weights: str, llama: ModelConfig, checkpoint: Any, run_model: Callable[..., Any], ids: np.ndarray
) -> None:
    """Whole, in chunks, beside others, over a shared prefix, on one thread or three: equal, not close."""
    model = checkpoint(replace(llama, windows=(150, 0)), weights=weights)
    executor = run_model(model, isa=isa, kv=kv, slots=4096)
    whole = Driver(executor, ids).run([(0, 0, 300)])
    chunked = Driver(executor, ids, seed=2)
    bounds = [0, 1, 6, 64, 129, 130, 255, 299, 300]
    for a, b in pairwise(bounds):
        np.testing.assert_array_equal(chunked.run([(0, a, b)]), whole[a:b])
    batch = Driver(executor, ids, num_sequences=8, seed=3)
    batch.table[:, :260] = batch.table[0, :260]
    batch.run([(0, 0, 260)])
    ends = [300, 261, 270, 300, 262, 299, 300, 280]
    batch.run([(row, 260, end - 1) for row, end in enumerate(ends) if end > 261])
    rows = [(row, end - 1, end) for row, end in enumerate(ends)]
    wanted = whole[[end - 1 for end in ends]]
    np.testing.assert_array_equal(batch.run(rows), wanted)
    np.testing.assert_array_equal(batch.run(rows, groups=[SharedPrefix(0, 8, 260)]), wanted)
    np.testing.assert_array_equal(batch.run(rows[::-1], groups=[SharedPrefix(2, 6, 200)]), wanted[::-1])
    for threads in (1, 3):
        other = Driver(run_model(model, isa=isa, kv=kv, threads=threads), ids)
        np.testing.assert_array_equal(other.run([(0, 0, 300)]), whole)


# The smallest input is large by nature: an order of all the rows that a batch computes.
@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.large_base_example, HealthCheck.too_slow],
)
@given(data=st.data())
def test_any_batching_gives_the_same_bits(
    data: st.DataObject, llama: ModelConfig, checkpoint: Any, run_model: Callable[..., Any], ids: np.ndarray
) -> None:
    executor = run_model(checkpoint(llama, weights="Q4_0"), kv="bfloat16", slots=1024)
    whole = Driver(executor, ids).run([(0, 0, 300)])
    mixed = Driver(executor, ids, num_sequences=3, seed=data.draw(st.integers(0, 9)))
    done = [0, 0, 0]
    while min(done) < 300:
        steps = [data.draw(st.sampled_from([0, 1, 1, 2, 17, 100, 150])) for _ in done]
        chunks = [(row, a, min(300, a + n)) for row, (a, n) in enumerate(zip(done, steps, strict=True))]
        chunks = [c for c in chunks if c[1] < c[2]] or [(i, a, a + 1) for i, a in enumerate(done) if a < 300][:1]
        np.testing.assert_array_equal(mixed.run(chunks), np.concatenate([whole[a:b] for _, a, b in chunks]))
        for row, _, end in chunks:
            done[row] = end


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_rows_that_nobody_reads_change_nothing(
    data: st.DataObject, llama: ModelConfig, checkpoint: Any, run_model: Callable[..., Any], ids: np.ndarray
) -> None:
    """The last layer leaves them out behind their keys and values; the steps that follow read these."""
    executor = run_model(checkpoint(replace(llama, windows=(150, 0)), weights="Q4_0"), kv="bfloat16", slots=2048)
    whole = Driver(executor, ids).run([(0, 0, 300)])
    mixed = Driver(executor, ids, num_sequences=4, seed=1)
    mixed.table[:, :140] = mixed.table[0, :140]
    starts = [0, *(data.draw(st.integers(141, 200)) for _ in range(3))]
    ends = [data.draw(st.integers(start + 1, 299)) for start in starts]
    mixed.run([(0, 0, 140)], read=[])
    mixed.run([(row, 140, start) for row, start in enumerate(starts) if row], read=[])
    chunks = list(zip(range(4), starts, ends, strict=True))
    positions = np.concatenate([np.arange(a, b) for _, a, b in chunks])
    read = sorted(data.draw(st.sets(st.integers(0, len(positions) - 1), max_size=12)))
    found = mixed.run(chunks, [SharedPrefix(1, 4, 140)], read)
    np.testing.assert_array_equal(found, whole[positions[read]] if read else np.zeros(0))
    last = [(row, end, end + 1) for row, end in enumerate(ends)]
    np.testing.assert_array_equal(mixed.run(last), whole[ends])


def test_sequences_of_one_step_read_what_each_other_writes(
    llama: ModelConfig, checkpoint: Any, run_model: Callable[..., Any], ids: np.ndarray
) -> None:
    executor = run_model(checkpoint(llama))
    whole = Driver(executor, ids).run([(0, 0, 300)])
    shared = Driver(executor, ids, num_sequences=2, seed=1)
    shared.table[1, :200] = shared.table[0, :200]
    found = shared.run([(0, 0, 200), (1, 200, 300)])
    np.testing.assert_array_equal(found, whole)


def test_hidden_states_are_those_of_the_reference(
    llama: ModelConfig, checkpoint: Any, run_model: Callable[..., Any], ids: np.ndarray
) -> None:
    model, table = checkpoint(llama), np.arange(64, dtype=np.int32)[None]
    plan = StepPlan(
        0, ids[:64], int32(range(64)), table[0], int32([0, 64]), int32([64]), int32([0]), table,
        hidden_rows=int32([63, 0]),
    )  # fmt: skip
    found = run_model(model).execute(plan).hidden_RE
    assert found.shape == (2, llama.hidden_size)
    wanted = TorchExecutor(model, num_slots=64).execute(plan).hidden_RE
    np.testing.assert_allclose(found, wanted, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"token_ids_T": int32([1, 211])}, "vocabulary"),
        ({"slots_T": int32([3, 64])}, "slot"),
        ({"positions_T": int32([0, 2])}, "positions"),
        ({"kv_lens_B": int32([9])}, "page table"),
        ({"table_rows_B": int32([1])}, "table row"),
        ({"page_table": int32([[3, -1, 5]])}, "slot"),
        ({"query_start_B1": int32([0, 1])}, "query_start"),
        ({"groups": [SharedPrefix(0, 2, 1)]}, "group"),
        ({"scores": [ScorePlan(2, -1, 0, int32([]))]}, "score"),
        ({"hidden_rows": int32([2])}, "hidden"),
    ],
)
def test_a_plan_that_is_not_sound_is_refused_and_the_next_one_runs(
    change: dict[str, Any], words: str, llama: ModelConfig, checkpoint: Any, run_model: Callable[..., Any]
) -> None:
    executor = run_model(checkpoint(llama), slots=64)
    table = int32([[3, 4, 5]])
    good = StepPlan(0, int32([1, 2]), int32([0, 1]), int32([3, 4]), int32([0, 2]), int32([2]), int32([0]), table)
    with pytest.raises(InternalError, match=words):
        executor.execute(replace(good, **change))
    assert executor.execute(good).token_ids_S.size == 0


def test_a_tensor_of_the_wrong_shape_is_named(
    llama: ModelConfig, checkpoint: Any, run_model: Callable[..., Any]
) -> None:
    model = checkpoint(llama)
    model.config = replace(llama, intermediate_size=192)
    with pytest.raises(WeightMismatch, match=r"model\.layers\.0\.mlp\.gate_proj\.weight should be \[192, 96\]"):
        run_model(model)


def test_a_tensor_without_a_place_is_refused(
    llama: ModelConfig, checkpoint: Any, run_model: Callable[..., Any]
) -> None:
    model = checkpoint(replace(llama, qk_norm="head"))
    model.config = llama
    with pytest.raises(UnsupportedModel, match="no place for 4 tensors"):
        run_model(model)


def test_a_pool_that_does_not_fit_the_address_space_is_refused(
    llama: ModelConfig, checkpoint: Any, run_model: Callable[..., Any]
) -> None:
    with pytest.raises(ConfigError, match="not enough memory"):
        run_model(checkpoint(llama), slots=1 << 50)


def test_an_int8_cache_takes_little_more_than_half_of_a_float16_one(
    llama: ModelConfig, checkpoint: Any, run_model: Callable[..., Any]
) -> None:
    model = checkpoint(replace(llama, head_dim=64))
    int8, float16 = (run_model(model, kv=kv, slots=16).kv_bytes_per_token for kv in ("int8", "float16"))
    assert int8 <= 0.55 * float16


def test_the_phases_of_a_run_are_timed(
    llama: ModelConfig, checkpoint: Any, run_model: Callable[..., Any], ids: np.ndarray
) -> None:
    executor = run_model(checkpoint(llama))
    Driver(executor, ids).run([(0, 0, 20)])
    phases = executor.phase_seconds()
    assert all(phases[name] > 0 for name in ("qkv", "attention", "gate_up", "head"))
