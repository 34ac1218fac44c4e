"""Nothing between a plan and its launch waits for the device: no value is read back, no shape depends on one, and what
goes to the device goes through the one staged copy.

On a CPU nothing would wait, so what would is forbidden by name: torch's operators are watched while a step is launched,
with the kernels' own bodies (triton's interpreter) left out. On a GPU torch itself tells, by its sync debug mode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

pytest.importorskip("triton")

from radixlang.kernels import paged
from radixlang.runtime.lora.adapter import linears_of, read_adapter
from radixlang.runtime.lora.names import SlotSize
from radixlang.runtime.model.adapted import AdapterSlots
from radixlang.runtime.model.decoder import Decoder
from radixlang.runtime.model.kv_pool import KvPool
from radixlang.runtime.model_runner.cuda import executor as cuda_executor
from radixlang.runtime.model_runner.cuda import graphs, logprobs, page_mirror, sample_arrays
from radixlang.runtime.model_runner.plan import ScorePlan
from radixlang.runtime.weights.open import open_checkpoint

pytestmark = pytest.mark.usefixtures("triton_everywhere")

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
SLOTS = 256
WAITING = (
    "_local_scalar_dense", "item", "is_nonzero", "nonzero", "nonzero_numpy", "masked_select", "equal", "_unique",
    "_unique2", "unique_dim", "unique_consecutive", "bincount", "repeat_interleave", "allclose",
)  # fmt: skip
"""Operators that read a value back, or whose result has a shape that a value decides."""


class Watch(TorchDispatchMode):
    """Raises where an operator would wait on a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__.split(".")[0]
        self.seen.add(name)
        assert name not in WAITING, f"{func} waits for the device"
        if name in ("index", "index_put", "index_put_", "_unsafe_index"):
            assert not any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1]), "indexed by a mask"
        return func(*args, **(kwargs or {}))


@contextmanager
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    if DEVICE.type == "cuda":
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield Watch()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return
    from triton.runtime import interpreter

    def outside(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            with _disable_current_modes():
                return function(*args, **options)

        return call

    def refused(*args: Any, **options: Any) -> Any:
        raise AssertionError("a tensor is made from the host's values beside the staged copy")

    with monkeypatch.context() as patched:
        patched.setattr(interpreter.GridExecutor, "__call__", outside(interpreter.GridExecutor.__call__))
        send = cuda_executor.send
        from_numpy = torch.from_numpy

        def staged(*args: Any) -> Any:
            with pytest.MonkeyPatch.context() as inner:
                inner.setattr(torch, "from_numpy", from_numpy)
                return send(*args)

        for module in (cuda_executor, graphs, logprobs, page_mirror, sample_arrays):
            if hasattr(module, "send"):
                patched.setattr(module, "send", staged)
        described = paged.describe

        def describe(*args: Any, **options: Any) -> Any:
            with pytest.MonkeyPatch.context() as inner:
                inner.setattr(torch, "from_numpy", from_numpy)
                return described(*args, **options)

        patched.setattr(cuda_executor, "describe", describe)
        patched.setattr("radixlang.runtime.model.adapted.send", staged)
        for name in ("from_numpy", "tensor", "as_tensor"):
            patched.setattr(torch, name, refused)
        for name in ("tolist", "numpy", "cpu", "item", "__bool__", "__int__", "__float__", "__index__"):
            patched.setattr(torch.Tensor, name, refused, raising=False)
        with Watch() as watch:
            # What is fetched is read later, by another thread; on a CPU it is there at once.
            yield watch


def make_executor(path: Path, kv_dtype: torch.dtype, lora: SlotSize | None) -> cuda_executor.CudaExecutor:
    checkpoint = open_checkpoint(path)
    with torch.inference_mode():
        decoder = Decoder(checkpoint, dtype=torch.float32, device=DEVICE)
        adapters = None if lora is None else AdapterSlots(decoder, lora)
        pool = KvPool(checkpoint.config, SLOTS + 1, kv_dtype, DEVICE)
    return cuda_executor.CudaExecutor(
        decoder, pool, num_rows=32, max_context=128, page_size=1, uses_graphs=True, adapters=adapters
    )  # fmt: skip


def launched(executor: Any, plan: Any, watch: AbstractContextManager[Watch]) -> tuple[Any, set[str]]:
    with watch as seen:
        step = executor.launch(plan, relays=True)
    return step.result(), seen.seen


@pytest.mark.parametrize("case", ["experts", "int8 and adapters"])
def test_a_launch_waits_for_nothing(
    case: str, tiny_model_dir: Path, make_family: Any, make_adapter: Any, driver: Any, make_sample: Any,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    path = make_family("qwen2_moe").path if case == "experts" else tiny_model_dir
    has_adapters = case == "int8 and adapters"
    executor = make_executor(
        path, torch.int8 if has_adapters else torch.float32, SlotSize(2, 4) if has_adapters else None
    )
    adapters = []
    if has_adapters:
        folder = make_adapter(tmp_path / "a", tiny_model_dir, rank=4, targets=("q_proj", "v_proj"), seed=1)
        adapters = [read_adapter(folder, linears_of(open_checkpoint(tiny_model_dir)))]
    run = driver(executor)
    sequences = [run.new() for _ in range(3)]
    ids = np.array([3, 50, 77], np.int32)
    mask = np.zeros((1, (executor.vocab_size + 31) // 32), np.uint32)
    mask[0, 2] = 0b1011

    def samples(ends: list[int]) -> list[Any]:
        return [
            make_sample(ends[0], temperature=1.0, seed=4, top_k=20, num_top=3, logprob_ids=ids),
            make_sample(ends[1], temperature=0.8, top_p=0.7, min_p=0.01, mask_row=0, num_top=0),
            make_sample(ends[2], bias_ids=ids, bias_values=np.ones(3, np.float32), penalty_ids=ids,
                        penalty_counts=np.ones(3, np.int32), frequency_penalty=0.5, repetition_penalty=1.3),
        ]  # fmt: skip

    prompt = run.plan([(s, list(range(5, 12 + i))) for i, s in enumerate(sequences)])
    prompt.masks_MW, prompt.samples = mask, samples((prompt.query_start_B1[1:] - 1).tolist())
    prompt.scores = [ScorePlan(0, int(prompt.token_ids_T[1]), 2, ids), ScorePlan(1, -1, 0, ids)]
    prompt.hidden_rows = np.array([2, 0], np.int32)
    drafted = run.plan([(sequences[0], [7, 8, 9]), (sequences[1], [4]), (sequences[2], [3])])
    drafted.samples = [make_sample(row) for row in range(5)]
    drafted.tree_T = np.array([1, 3, 5, 0, 0], np.uint32)  # rows 1 and 2 both follow row 0
    drafted.positions_T[2] = drafted.positions_T[1]
    decoded = run.plan([(s, [0]) for s in sequences])
    decoded.relay_rows, decoded.relay_samples = np.arange(3, dtype=np.int32), np.array([1, 3, 4], np.int32)
    decoded.masks_MW, decoded.samples = mask, samples([0, 1, 2])
    for plan in (prompt, drafted, decoded):
        if adapters:
            plan.adapters, plan.adapters_B = adapters, np.array([0, -1, 0], np.int32)
            with torch.inference_mode():
                executor._adapters.use(plan)  # the first use rounds the matrices and pins them
                executor._adapters._free.append(executor._adapters._slots.popitem()[1])  # the launch fills a slot again
        output, seen = launched(executor, plan, watched(monkeypatch))
        assert len(output.token_ids_S) == len(plan.samples)
        assert DEVICE.type == "cuda" or "index_put_" in seen  # the watch sees the page table being written


def test_the_watch_sees_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.arange(4, device=DEVICE)
    waiting: list[Callable[[], object]] = [
        lambda: values.nonzero(), lambda: values[values > 1], lambda: int(values[0]), lambda: values.unique(),
        lambda: values.tolist(), lambda: torch.tensor([1, 2], device=DEVICE), lambda: bool(values.any()),
    ]  # fmt: skip
    for call in waiting:
        with pytest.raises((AssertionError, RuntimeError)), watched(monkeypatch):
            call()
    with watched(monkeypatch):
        values.index_select(0, values)
