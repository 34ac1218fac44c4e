"""Linears of few bits, experts and adapters: against float64 of the same numbers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from radixlang.kernels.reference import matmul as reference
from radixlang.kernels.triton import grouped, matmul

Error = Callable[[torch.Tensor, torch.Tensor], float]


@pytest.mark.parametrize(("rows", "features_in", "features_out", "group"), [(1, 64, 40, 32), (20, 128, 70, 16)])
@pytest.mark.parametrize("has_bias", [False, True])
def test_w4(rows: int, features_in: int, features_out: int, group: int, has_bias: bool, error: Error) -> None:
    torch.manual_seed(0)
    q = torch.randint(0, 16, (features_out, features_in))
    scale = torch.rand(features_out, features_in // group) + 0.1
    offset = torch.randn(features_out, features_in // group)
    bias = torch.randn(features_out) if has_bias else None
    x = torch.randn(rows, features_in)
    weight = q.double() * scale.repeat_interleave(group, 1) + offset.repeat_interleave(group, 1)
    exact = x.double() @ weight.T + (0 if bias is None else bias)
    packed = reference.pack_w4(q, group)
    assert packed.shape == (features_out, features_in // 2)
    assert torch.equal(reference.unpack_w4(packed, features_in // group).long(), q)
    assert error(matmul.linear_w4(x, packed, scale, offset, bias), exact) < 2e-6
    assert error(reference.linear_w4(x, packed, scale, offset, bias), exact) < 2e-6


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn], ids=str)
@pytest.mark.parametrize(
    ("rows", "features_in", "features_out", "groups"), [(1, 64, 40, 1), (20, 200, 70, 1), (3, 96, 40, 3)]
)
def test_w8a8(dtype: torch.dtype, rows: int, features_in: int, features_out: int, groups: int, error: Error) -> None:
    torch.manual_seed(1)
    weight, scale = reference.quantise_rows(torch.randn(features_out, features_in), dtype, groups)
    x, bias = torch.randn(rows, features_in), torch.randn(features_out)
    x[0] = 0  # a row of zeros has no scale
    # The interpreter cuts what a GPU rounds to FP8, so the rows are taken as the kernel makes them.
    steps, row_scale = matmul.quantise_rows(x, dtype, groups)
    size = features_in // groups
    wide = weight.double() * scale.double().repeat_interleave(size, 1)
    exact = (steps.double() * row_scale.double().repeat_interleave(size, 1)) @ wide.T + bias.double()
    assert error(matmul.linear_w8a8(x, weight, scale, bias), exact) < 1e-5
    assert error(reference.linear_w8a8(x, weight, scale, bias), exact) < (1e-5 if dtype == torch.int8 else 0.1)
    unquantised = x.double() @ wide.T + bias.double()
    assert error(exact, unquantised) < (0.02 if dtype == torch.int8 else 0.1)


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 60), st.integers(1, 5), st.integers(1, 3), st.integers(0, 1 << 30))
def test_moe(tokens: int, experts: int, chosen: int, seed: int) -> None:
    torch.manual_seed(seed)
    chosen = min(chosen, experts)
    x = torch.randn(tokens, 24)
    gate_up, down = torch.randn(experts, 40, 24), torch.randn(experts, 24, 20)
    picked = torch.stack([torch.randperm(experts)[:chosen] for _ in range(tokens)]).to(torch.int32)
    weights = torch.rand(tokens, chosen)
    exact = reference.moe(x.double(), gate_up.double(), down.double(), picked, weights.double(), "silu")
    got = grouped.moe(x, gate_up, down, picked, weights, "silu")
    assert float((got - exact).abs().max() / exact.abs().max()) < 2e-6


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(-1, 2), min_size=1, max_size=50), st.integers(0, 1 << 30))
def test_lora(adapters: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    tokens = len(adapters)
    x, out = torch.randn(tokens, 24), torch.randn(tokens, 40)
    down, up, scale = torch.randn(3, 8, 24), torch.randn(3, 40, 8), torch.tensor([0.5, 2.0, 1.0])
    adapter = torch.tensor(adapters, dtype=torch.int32)
    exact = out.double()
    reference.add_lora(exact, x.double(), down.double(), up.double(), scale.double(), adapter)
    untouched = out[adapter < 0].clone()
    grouped.add_lora(out, x, down, up, scale, adapter)
    assert float((out - exact).abs().max() / exact.abs().max()) < 2e-6
    assert torch.equal(out[adapter < 0], untouched)
