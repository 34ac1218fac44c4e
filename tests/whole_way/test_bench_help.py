"""Every benchmark is a command that says what it measures and what it takes."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "examples" / "bench"
COMMANDS = sorted(
    path.name
    for path in BENCH.glob("*.py")
    if '__name__ == "__main__"' in path.read_text() and path.name != "openvino_driver.py"  # runs where OpenVINO is
)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_benchmark_tells_its_options_and_runs_nothing(name):
    if name in ("compile_kernels.py", "plots.py"):
        pytest.importorskip("triton" if name == "compile_kernels.py" else "matplotlib")
    done = subprocess.run([sys.executable, BENCH / name, "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage:")
    assert len(done.stdout.splitlines()) > 5
