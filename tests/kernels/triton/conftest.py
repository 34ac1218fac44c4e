"""The kernels on the GPU where there is one; else in triton's interpreter, on CPU tensors (see tests/conftest.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed")


@pytest.fixture(autouse=True, scope="package")
def on_the_kernels_device() -> Iterator[None]:
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        yield


@pytest.fixture
def error() -> Callable[[torch.Tensor, torch.Tensor], float]:
    """Largest deviation, relative to the largest value of the exact result."""

    def relative(got: torch.Tensor, exact: torch.Tensor) -> float:
        return float((got.double() - exact.double()).abs().max() / exact.double().abs().max().clamp(min=1e-30))

    return relative
