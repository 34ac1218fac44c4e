"""Each example runs on the default model, and prints as many lines as its docstring shows."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

import radixlang as sgl

EXAMPLES = sorted(p for p in (Path(__file__).parents[2] / "examples").glob("*.py") if p.stem != "quickstart")


@pytest.fixture(scope="module")
def engine():
    engine = sgl.Engine(model_path="smollm2-135m-instruct")
    yield engine
    engine.shutdown()


@pytest.mark.model
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_an_example_prints_what_it_says(path, engine, capsys, monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    sgl.set_default_backend(engine)
    example = runpy.run_path(str(path))
    example["main"]()
    shown = re.search(r"printed, on SmolLM2-135M:\n\n((?:    .*\n)+)", example["__doc__"])
    assert shown is not None, "an example shows what it printed"
    printed = capsys.readouterr().out.rstrip().splitlines()
    assert len(printed) == len(shown.group(1).splitlines())
    assert all(line.strip() for line in printed)
