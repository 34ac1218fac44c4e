"""Every kernel compiles for the GPUs that we name, with or without one here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "examples" / "bench" / "compile_kernels.py"


@pytest.mark.slow
@pytest.mark.parametrize("capability", ["80", "90"])
def test_compiles(capability: str) -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), capability], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"sm_{capability}" in done.stdout
