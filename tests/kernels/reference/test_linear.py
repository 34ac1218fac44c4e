"""Packed linears against the plain one, and the promise about rows."""

from __future__ import annotations

import pytest
import torch

from radixlang.kernels import ops
from radixlang.kernels.load import load_kernels
from radixlang.kernels.reference import linear, linear_onednn

TYPES = [t for t in (torch.float32, torch.bfloat16) if linear_onednn.is_supported(t)]

pytestmark = pytest.mark.skipif(not TYPES, reason="this torch has no oneDNN")


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("num_rows", [1, 3, 4, 17])
@pytest.mark.parametrize("with_bias", [False, True])
def test_packed_is_plain(dtype: torch.dtype, num_rows: int, with_bias: bool) -> None:
    torch.manual_seed(0)
    x, weight, bias = (torch.randn(*s).to(dtype) for s in ((num_rows, 40), (56, 40), (56,)))
    given_bias = bias if with_bias else None
    packed = linear_onednn.pack(weight)
    assert packed.shape == weight.shape
    found = linear_onednn.linear(x, packed, given_bias)
    wanted = linear.linear(x.double(), weight.double(), bias.double() if with_bias else None)
    tolerance = 1e-5 if dtype == torch.float32 else 4e-2
    torch.testing.assert_close(found.double(), wanted, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() != "AVX512", reason="seen on AVX-512 only")
def test_a_row_has_the_same_bits_in_every_batch(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x, packed = torch.randn(70, 1536).to(dtype), linear_onednn.pack(torch.randn(96, 1536).to(dtype))
    whole = linear_onednn.linear(x, packed)
    for first, end in ((0, 1), (5, 7), (69, 70), (3, 60), (0, 16)):
        assert torch.equal(linear_onednn.linear(x[first:end], packed), whole[first:end])


def test_the_registry_takes_the_packed_form_where_it_fits() -> None:
    load_kernels()
    weight = torch.randn(8, 8)
    assert ops.pack_linear(weight).is_mkldnn
    assert ops.pack_linear(weight.half()).dtype == torch.float16  # not packed, still a linear's weight
    x = torch.randn(2, 8)
    torch.testing.assert_close(ops.linear(x, ops.pack_linear(weight)), x @ weight.T)
    torch.testing.assert_close(ops.linear(x, weight), x @ weight.T)
