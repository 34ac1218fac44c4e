"""Tuned tiles are read, written and used; whatever they are, results are the same."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from radixlang.kernels.reference import matmul as reference
from radixlang.kernels.triton import matmul, tiles
from radixlang.kernels.triton.tiles import Tiles


@pytest.fixture(autouse=True)
def nothing_is_tuned() -> Iterator[None]:
    yield
    tiles._tuned.clear()


@pytest.fixture
def tuner() -> ModuleType:
    path = Path(__file__).parents[3] / "examples" / "bench" / "tune_kernels.py"
    spec = importlib.util.spec_from_file_location("tune_kernels", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_table_comes_back_as_it_was_written(tmp_path: Path) -> None:
    chosen = Tiles(32, 64, 0, 8, 5)
    tiles.choose("w4", (16, 1), chosen)
    tiles.save(tmp_path / "card" / "tiles.json")
    assert tiles.read(tmp_path / "card" / "tiles.json") == {("w4", (16, 1)): chosen}


@pytest.mark.parametrize(
    "row",
    [
        {"kernel": "w4", "key": [16], "tiles": [16, 48, 0, 4, 3]},
        {"kernel": "w4", "key": [16], "tiles": [16, 64, 0, 0, 3]},
        {"kernel": "w4", "key": [16], "tiles": [16, 64]},
        {"key": [16], "tiles": [16, 64, 0, 4, 3]},
    ],
)
def test_a_damaged_table_is_refused(row: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "tiles.json"
    path.write_text(json.dumps([row]))
    with pytest.raises(ValueError, match="tiles"):
        tiles.read(path)


def test_a_choice_is_taken_and_changes_no_result() -> None:
    torch.manual_seed(0)
    packed = reference.pack_w4(torch.randint(0, 16, (70, 128)), 32)
    side, x = torch.rand(70, 4), torch.randn(20, 128)
    tiles.asked.clear()
    before = matmul.linear_w4(x, packed, side, side, None)
    ((kernel, key), own) = next(iter(tiles.asked.items()))
    assert kernel == "w4"
    tiles.choose(kernel, key, own._replace(m=16, n=16, warps=2))
    assert tiles.sized(kernel, key, own) == own._replace(m=16, n=16, warps=2)
    after = matmul.linear_w4(x, packed, side, side, None)
    assert torch.allclose(after, before, rtol=1e-5, atol=1e-5)


def test_the_tuner_keeps_the_fastest_and_skips_what_does_not_run(tuner: ModuleType, tmp_path: Path) -> None:
    """A kernel whose time is a bowl over n and stages, and that fails with more than 8 warps."""

    def seconds() -> float:
        chosen = tiles.sized("bowl", (1,), Tiles(0, 32, 0, 4, 2))
        if chosen.warps > 4:
            raise RuntimeError("out of resource")
        return 1.0 + abs(chosen.n - 128) / 128 + abs(chosen.stages - 4) * 0.2 + abs(chosen.warps - 4)

    path = tmp_path / "tiles.json"
    ((name, chosen, faster),) = tuner.tune(iter([("case", seconds)]), budget_s=60, path=path)
    assert name == "bowl (1,)"
    assert chosen == "(0, 128, 0, 4, 4)"
    assert faster == pytest.approx(2.15)
    assert tiles.read(path) == {("bowl", (1,)): Tiles(0, 128, 0, 4, 4)}
    assert all(other.k == 0 for other in tuner.neighbours(Tiles(0, 32, 0, 4, 2)))


def test_no_time_no_change(tuner: ModuleType) -> None:
    def seconds() -> float:
        tiles.sized("never", (1,), Tiles(0, 32, 0, 4, 2))
        return 1.0

    assert tuner.tune(iter([("case", seconds)]), budget_s=-1, path=None) == []
