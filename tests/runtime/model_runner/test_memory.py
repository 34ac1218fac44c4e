"""How many slots fit, and what is said when too few do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from radixlang.errors import ConfigError
from radixlang.runtime.model_runner.memory import MAX_CONTEXTS, _headroom, check_weights, free_memory, plan_slots

MIB = 1 << 20


def slots(**changes: Any) -> int:
    given = {
        "free_bytes": 1000 * MIB, "fraction": 0.5, "weight_bytes": 100 * MIB, "kv_bytes_per_token": MIB // 10,
        "model_context": 1024,
    }  # fmt: skip
    return plan_slots(**{**given, **changes})


def test_the_fraction_of_the_free_memory_less_the_weights() -> None:
    assert slots() == 400 * MIB // (MIB // 10)
    assert slots(fraction=0.3) == 200 * MIB // (MIB // 10)


def test_no_more_than_so_many_full_contexts() -> None:
    assert slots(kv_bytes_per_token=16) == MAX_CONTEXTS * 1024
    assert slots(kv_bytes_per_token=16, asked_context=10) == MAX_CONTEXTS * 10


def test_asked_slots_are_given_even_beyond_the_fraction() -> None:
    assert slots(asked_slots=8000) == 8000
    with pytest.raises(ConfigError, match=r"--max-total-tokens 9500 needs 9\d\d\.\d MiB beside 100.0 MiB"):
        slots(asked_slots=9500)


def test_an_asked_context_must_fit_whole() -> None:
    assert slots(asked_context=4000) >= 4000
    with pytest.raises(ConfigError, match="a context larger than the pool: 5000 tokens of context, 4000 KV slots") as e:
        slots(asked_context=5000)
    assert e.value.param == "context_length"
    with pytest.raises(ConfigError, match="raise --max-total-tokens"):
        slots(asked_context=5000, asked_slots=300)


def test_the_models_own_limit_may_be_cut_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert slots(model_context=131072) == 4000
    assert "the pool of 4000 tokens cuts the context of 131072 tokens" in caplog.text
    with pytest.raises(ConfigError, match="a context larger than the pool: 512 tokens"):
        slots(kv_bytes_per_token=MIB)


def test_a_model_larger_than_the_memory() -> None:
    with pytest.raises(ConfigError, match=r"model is larger than the memory: 3\.0 GiB of weights, 1000\.0 MiB free"):
        slots(weight_bytes=3 << 30)
    with pytest.raises(ConfigError, match=r"smaller quantisation, or --device cpu$"):
        check_weights(3 << 30, 1 << 30, elsewhere="--device cpu")


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({"memory.max": "1000", "memory.current": "700", "memory.stat": "anon 1\ninactive_file 50"}, 350),
        ({"memory.max": "1000", "memory.current": "1700"}, 0),
        ({"memory.max": "max", "memory.current": "700"}, None),
        ({"memory.limit_in_bytes": "900", "memory.usage_in_bytes": "100"}, 800),
        ({"memory.limit_in_bytes": "9223372036854771712", "memory.usage_in_bytes": "100"}, None),
        ({}, None),
    ],
)
def test_a_control_groups_headroom(tmp_path: Path, files: dict[str, str], wanted: int | None) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text + "\n")
    assert _headroom(tmp_path) == wanted


def test_this_machine_has_some_memory() -> None:
    assert MIB < free_memory() < 1 << 50


@pytest.mark.parametrize("limit", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_a_limit_of_the_process_counts(limit: str) -> None:
    code = (
        "import resource; from radixlang.runtime.model_runner.memory import free_memory\n"
        f"hard = resource.getrlimit(resource.{limit})[1]; before = free_memory()\n"
        f"resource.setrlimit(resource.{limit}, (600 << 20, hard)); first = free_memory()\n"
        "kept = bytearray(100 << 20); print(before >= first, first >> 20, first - free_memory() >> 20)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    is_less, free, taken = done.stdout.split()
    assert is_less == "True"
    assert 0 < int(free) < 600
    assert 95 <= int(taken) <= 105
