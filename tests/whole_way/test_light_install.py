"""Programs and servers run without torch, transformers and triton: the light install is whole."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "transformers", "triton")
BLOCK = f"import sys\nfor name in {HEAVY!r}:\n    sys.modules[name] = None\n"


@pytest.fixture
def without_heavy(tmp_path):
    """An environment in which importing any of HEAVY fails, in child processes too."""
    (tmp_path / "sitecustomize.py").write_text(BLOCK)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}


def test_the_block_blocks(without_heavy):
    failed = subprocess.run([sys.executable, "-c", "import torch"], env=without_heavy, capture_output=True, text=True)
    assert "ModuleNotFoundError" in failed.stderr


def test_the_quickstart_runs_without_torch(without_heavy):
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "quickstart.py")],
        env=without_heavy, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "The capital of France is Paris" in done.stdout
    assert "prompt tokens came from the cache" in done.stdout


def test_what_needs_torch_says_which_extra(without_heavy):
    code = "import radixlang as sgl; sgl.Engine(model_path='smollm2-135m-instruct', executor='torch')"
    failed = subprocess.run(
        [sys.executable, "-c", code], env=without_heavy, capture_output=True, text=True, timeout=120
    )
    assert failed.returncode != 0
    assert "radixlang[torch]" in failed.stderr
