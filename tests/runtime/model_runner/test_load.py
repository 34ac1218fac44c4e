"""Which executor is taken, and what is said when none can be."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from radixlang.errors import ConfigError, UnsupportedModel
from radixlang.runtime.config import EngineConfig
from radixlang.runtime.lora.names import SlotSize
from radixlang.runtime.model_runner.load import check_threads, load_executor
from radixlang.runtime.weights.checkpoint import Checkpoint
from radixlang.runtime.weights.open import open_checkpoint

pytest.importorskip("torch")


@pytest.fixture
def checkpoint(tiny_model_dir: Path) -> Iterator[Checkpoint]:
    opened = open_checkpoint(tiny_model_dir)
    yield opened
    opened.close()


def config(**changes: Any) -> EngineConfig:
    return EngineConfig(**{"max_total_tokens": 100, "num_threads": 1, **changes})


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A native step that covers nothing; the slots that it was asked for."""
    asked: list[int] = []

    class NativeExecutor:
        def __init__(self, checkpoint: Checkpoint, config: EngineConfig, num_slots: int, lora: SlotSize | None) -> None:
            asked.append(num_slots)
            raise UnsupportedModel("no op for it")

    module = ModuleType("native")
    module.NativeExecutor = NativeExecutor  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "radixlang.runtime.model_runner.native", module)
    return asked


def test_torch_when_asked_for(checkpoint: Checkpoint, native: list[int]) -> None:
    executor = load_executor(config(executor="torch", page_size=8, dtype="bfloat16"), checkpoint)
    assert executor.num_slots == 96  # whole pages
    assert executor.device.startswith("cpu (torch, bfloat16")
    assert not native


def test_a_page_larger_than_the_pool_is_refused(checkpoint: Checkpoint) -> None:
    with pytest.raises(ConfigError, match="--page-size 128 is more than the 100 KV slots"):
        load_executor(config(executor="torch", page_size=128), checkpoint)


def test_auto_falls_back_and_says_why(
    checkpoint: Checkpoint, native: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    executor = load_executor(config(), checkpoint)
    assert "torch" in executor.device
    assert native == [100]
    assert [r.getMessage() for r in caplog.records if "native" in r.getMessage()] == [
        "the native step does not run tiny-llama here (no op for it); torch does"
    ]


def test_native_when_asked_for_does_not_fall_back(checkpoint: Checkpoint, native: list[int]) -> None:
    with pytest.raises(ConfigError, match="--executor native: no op for it"):
        load_executor(config(executor="native"), checkpoint)
    with pytest.raises(ConfigError, match="--executor native runs on the CPU"):
        load_executor(config(executor="native", device="cuda"), checkpoint)


def test_a_gpu_that_is_not_there_is_told_in_one_line(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError) as caught:
        load_executor(config(device="cuda"), checkpoint)
    assert str(caught.value) == "--device cuda: torch finds no CUDA device here; drop it, or --device cpu"
    assert caught.value.param == "device"
    assert load_executor(config(device="auto", executor="torch"), checkpoint).device.startswith("cpu")


def test_without_torch_the_extra_is_named(
    checkpoint: Checkpoint, native: list[int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "torch" else find(name, *a))
    with pytest.raises(ConfigError, match=r"no op for it.*pip install 'radixlang\[torch\]'"):
        load_executor(config(), checkpoint)
    assert "torch does" not in caplog.text


@pytest.mark.parametrize("changes", [{"executor": "torch"}, {"executor": "transformers"}, {"device": "cuda"}])
def test_rounding_is_for_the_native_step(changes: dict[str, Any], checkpoint: Checkpoint, native: list[int]) -> None:
    with pytest.raises(ConfigError, match=r"--quantize w8 is for the native step; drop it or --") as caught:
        load_executor(config(quantize="w8", **changes), checkpoint)
    assert caught.value.param == "quantize"
    assert not native


def test_rounding_does_not_fall_back(checkpoint: Checkpoint, native: list[int]) -> None:
    with pytest.raises(ConfigError, match=r"--quantize w4 is for the native step, which does not .*no op for it"):
        load_executor(config(quantize="w4"), checkpoint)


def test_a_context_that_cannot_fit_is_refused_with_numbers(checkpoint: Checkpoint, native: list[int]) -> None:
    with pytest.raises(ConfigError, match="a context larger than the pool: 2000 tokens of context, 100 KV slots"):
        load_executor(config(context_length=2000, executor="torch"), checkpoint)


def test_adapters_fall_back_to_torch_and_no_further(checkpoint: Checkpoint, native: list[int]) -> None:
    assert "torch" in load_executor(config(), checkpoint, lora=SlotSize(1, 4)).device
    with pytest.raises(ConfigError, match=r"--enable-lora: .* merge the adapter") as caught:
        load_executor(config(executor="transformers"), checkpoint, lora=SlotSize(1, 4))
    assert caught.value.param == "enable_lora"


@pytest.mark.parametrize(("asked", "told"), [(0, ""), (4, ""), (5, "--num-threads 5"), (32, "--num-threads 32")])
def test_threads_without_a_core_are_warned_of(
    asked: int, told: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("radixlang.kernels.cpu.load.default_threads", lambda: 4)
    check_threads(asked)
    assert bool(caplog.records) == bool(told)
    assert told in caplog.text


def test_threads_for_which_nobody_would_wait_are_refused(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("radixlang.kernels.cpu.load.default_threads", lambda: 4)
    with pytest.raises(ConfigError, match="--num-threads 33 is far more than the cores") as caught:
        load_executor(config(num_threads=33), checkpoint)
    assert caught.value.param == "num_threads"
