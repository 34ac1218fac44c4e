"""The GPU benchmarks run to their end without a GPU, so that they will with one; what overruns is cut and named."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

BENCH = Path(__file__).parents[2] / "examples" / "bench"


def run(tmp_path: Path, *options: str) -> tuple[int, str, dict]:
    command = [sys.executable, str(BENCH / "gpu.py"), "--device", "cpu", "--shape", "tiny", "--out", str(tmp_path)]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr, json.loads((tmp_path / "gpu_tiny_cpu.json").read_text())


def test_a_part_runs_and_stands_in_table_and_file(tmp_path: Path) -> None:
    status, told, report = run(tmp_path, "--parts", "alone")
    assert status == 0, told
    assert "| decode bs 4, no scheduler |" in told
    (row,) = report["tables"]["tiny"]["rows"]
    assert row["value"] > 0
    assert row["unit"] == "tokens/s"


def test_a_part_that_overruns_its_share_is_cut_and_named(tmp_path: Path) -> None:
    status, told, report = run(tmp_path, "--parts", "kernels", "alone", "--budget-s", "3")
    assert status == 1
    assert "cut, failed or left out: kernels" in told
    assert "kernels" in report["tables"]["tiny"]["cut"]


def test_shares_and_goals_of_a_card(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCH))
    spec = importlib.util.spec_from_file_location("gpu_table", BENCH / "gpu_table.py")
    assert spec is not None
    assert spec.loader is not None
    table = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(table)
    # runtime.md 4.2: one H200, 4.8 TB/s and 989 TFLOP/s, Llama 3 8B.
    allowed = table.roofline("8b", 4.8e12, 989e12)
    assert allowed["decode bs 1"] == pytest.approx(315, rel=0.02)
    assert allowed["prefill 8192"] == pytest.approx(70900, rel=0.02)
    found = {"decode bs 1": 0.9 * allowed["decode bs 1"], "decode bs 64": 0.5 * allowed["decode bs 64"]}
    rows = table.report("8b", "cuda", found, (4.8e12, 989e12), [])["rows"]
    assert [row["holds"] for row in rows] == [True, False]
    assert "MISSED" in capsys.readouterr().out
    rows = table.report("1b", "cuda", found, (4.8e12, 989e12), [])["rows"]
    assert all(row["goal"] is None for row in rows)


@pytest.mark.slow
def test_all_parts_run(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    status, told, report = run(tmp_path)
    assert status == 0, told
    names = [row["what"] for row in report["tables"]["tiny"]["rows"]]
    for begun in ("decode bs 1", "prefill", "offline", "overlap on / off", "tree_of_thought: cache off / on", "kernel"):
        assert any(name.startswith(begun) for name in names), begun
