"""The documented simulation of 100,000 requests: nothing leaks, nobody is left without an answer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "bench" / "simulate.py"


def simulate(num_requests):
    return subprocess.run(
        [sys.executable, str(SCRIPT), "--requests", str(num_requests)], capture_output=True, text=True, check=False
    )


def test_a_small_simulation_leaks_nothing() -> None:
    done = simulate(1200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("fcfs + lru") == 18, "five traces and their sum, in three pools"


@pytest.mark.slow
def test_a_hundred_thousand_requests_leak_nothing() -> None:
    done = simulate(100_000)
    assert done.returncode == 0, done.stdout + done.stderr
