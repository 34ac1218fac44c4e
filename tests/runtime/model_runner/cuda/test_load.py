"""What is said when a GPU cannot do what was asked; needs none."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("triton")

from radixlang.errors import ConfigError
from radixlang.runtime.config import EngineConfig
from radixlang.runtime.model_runner.cuda.load import check_device, check_heads, check_step, stored_bytes
from radixlang.runtime.weights.open import open_checkpoint
from radixlang.runtime.weights.rounded import RoundedCheckpoint


@pytest.mark.parametrize(
    ("capability", "kv_dtype", "words"),
    [((7, 5), "bfloat16", "8.0 or newer: --device cpu"), ((8, 0), "fp8", "--kv-cache-dtype int8")],
)
def test_a_gpu_that_lacks_something_is_told(capability: tuple[int, int], kv_dtype: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_device("Some GPU", capability, kv_dtype)
    check_device("H200", (9, 0), kv_dtype)


def test_heads_that_are_too_large_are_told() -> None:
    check_heads(256)
    with pytest.raises(ConfigError, match=r"288 dimensions.*up to 256.*--executor torch"):
        check_heads(288)


def test_a_step_that_does_not_fit_is_told_with_the_numbers_and_the_options() -> None:
    config = EngineConfig(chunked_prefill_size=4096, max_running_requests=64)
    check_step(1 << 30, 2 << 30, config)
    with pytest.raises(ConfigError, match=r"size 4096 tokens.*requests 64 needs 3.0 GiB.*2.0 GiB are free: lower"):
        check_step(3 << 30, 2 << 30, config)


def test_weights_count_as_they_are_stored(tiny_model_dir: Path) -> None:
    dense = open_checkpoint(tiny_model_dir)
    numbers = sum(int(dense.packed(name).nbytes) // 4 for name in dense.names())
    assert stored_bytes(dense, 2) == 2 * numbers
    assert stored_bytes(RoundedCheckpoint(dense, "w4"), 2) < 1.5 * numbers
